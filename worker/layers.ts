// Prepares layers for mounting: fetched and unpacked in parallel, each once across all processes of the store.
//
// A blob is verified by its digest, but whether it contains the layer is only a claim (cache/claims.ts). Code that reads a blob here
// tries all blobs that are claimed to contain the layer until one does: a damaged one is set aside and fetched again, one that
// contains something else is forgotten, one that is unavailable is skipped.

import { BuildError, type ErrorCode } from "../solver/graph/error.ts";
import type { Digest } from "../solver/graph/digest.ts";
import { saysWaiting } from "../solver/graph/event.ts";
import { isBaseLayer, type CallContext, type Descriptor, type LayerId } from "../solver/graph/request.ts";
import { openTasks } from "../solver/graph/tasks.ts";
import { asRefuted, asVerified, type Claim, type Claims, isSure, sureForms } from "../cache/claims.ts";
import { withTable } from "../cache/table-annotations.ts";
import type { Keeper } from "./keeper/keeper.ts";
import type { PlainOutcome } from "./keeper/messages.ts";
import { type Arriving, openEarlyUnpack } from "./early-unpack.ts";
import { STACK_MAX } from "./sys/stack-limit.ts";
import type { LayerRecord, RemoteBlob, Store } from "../cache/contract.ts";

/** Fetches a blob into the content store, verified; once over all processes that want it. */
export type FetchBlob = (
  remote: RemoteBlob,
  options: {
    readonly signal: AbortSignal;
    readonly onBytes: (current: number, total: number) => void;
    readonly onFile?: (path: string) => void;
  },
) => Promise<void>;

/** What imported caches say of a layer that no image in use has. */
export type CacheClaims = (
  layer: LayerId,
  options: { readonly signal: AbortSignal },
) => Promise<readonly RemoteBlob[]>;

/** What was found in a blob. */
export type Contents = Pick<PlainOutcome, "diffId" | "tarBytes" | "compression">;

/** A blob that stands for a layer. remote: where it is to be fetched from; null: it is in the content store. */
export interface LayerForm {
  readonly descriptor: Descriptor;
  readonly remote: RemoteBlob | null;
}

export interface Unpacker {
  /** Directories of the layers, oldest first, all unpacked. vertex: the step that shows the transfer. */
  directories(layers: readonly LayerId[], vertex: Digest, context: CallContext): Promise<string[]>;
  /** Makes a blob that may be passed on for the layer (see forms) be in the content store. */
  fetch(layer: LayerId, vertex: Digest | null, context: CallContext): Promise<void>;
  /** Blobs of others that may be passed on for the layer as they are, best first: what an image in use says of its own layer, or
   *  else a cache in use; then what is known to hold it. Where those in use say different things, and where nothing in use says
   *  anything, blobs are checked first; unless they may not be (`unseen`), and then there are none. */
  forms(layer: LayerId, context: CallContext, unseen?: boolean): Promise<readonly LayerForm[]>;
  /** Does `work`, which looks into a blob and says what it found, with one blob after the other until one holds the layer. */
  withBlob<T extends Contents>(
    layer: LayerId,
    context: CallContext,
    work: (path: string) => Promise<T>,
  ): Promise<T>;
}

export interface UnpackerDeps {
  readonly store: Store;
  readonly keeper: () => Keeper;
  readonly fetch: FetchBlob;
  readonly claims: Claims;
  readonly cacheClaims: CacheClaims | null;
  readonly merge: MergeLayers;
  /** Holds layers for as long as the unpacker is used. */
  readonly hold: (layers: readonly LayerId[]) => void;
}

/** A blob that is looked into. */
interface LayerBlob {
  readonly path: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** It is still being fetched: `whole` resolves when it is here and verified, and rejects when it does not come. */
  readonly arriving: (Arriving & { readonly sizeBytes: number }) | null;
}
const WHOLE = { vertex: null, early: false } as const;

/** Of a blob that is whole, these say that it is not the layer. */
const OF_CONTENT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "ARCHIVE_INVALID",
  "DIGEST_MISMATCH",
  "IMAGE_INVALID",
  "LIMIT_EXCEEDED",
]);
/** These say nothing of any blob. */
const OF_MACHINE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "SANDBOX_UNAVAILABLE",
  "STORE_FULL",
  "STORE_UNUSABLE",
]);
const MEDIA_TYPES = {
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  none: "application/vnd.oci.image.layer.v1.tar",
} as const;

/** Makes one layer of the oldest of a stack, which look the same; held by the caller. */
export type MergeLayers = (
  layers: readonly LayerId[],
  dirs: readonly string[],
  context: CallContext,
) => Promise<LayerId>;

/** A stack deeper than this gets its oldest layers as one, which are copied for it: room is left for what stackOf() adds. */
const DEPTH_MAX = Math.floor(STACK_MAX * 0.8);
/** As many at a time, always the oldest: steps that go on above find the same one made. */
const MERGED_AT_ONCE = Math.floor(STACK_MAX * 0.6);

/** Opens the unpacker. */
export function openUnpacker(deps: UnpackerDeps): Unpacker {
  const { store, keeper, fetch, claims, cacheClaims, merge } = deps;
  /** Everybody who wants the same thing here shares one task. */
  const tasks = openTasks<void>();
  const early = openEarlyUnpack();
  /** Seen unpacked. Who asks holds them, so they stay: a step need not ask again for each of the layers below it. */
  const ready = new Set<LayerId>();
  /** Layers of images whose files are those of a layer that was made here (cache/made-here.ts). */
  const standIns = new Map<LayerId, LayerId>();
  /** Layer and blob: looked into, and something else. */
  const refuted = new Set<string>();
  const isReady = (id: LayerId): boolean => {
    if (!ready.has(id) && store.layers.get(id)?.unpacked === true) ready.add(id);
    return ready.has(id);
  };
  /** Is there a directory of this store that is the layer's? It is held, then trusted. */
  const hasStandIn = (id: LayerId): boolean => {
    const made = store.layers.made(id);
    if (made === null || made.epochSeconds !== null || !made.record.unpacked) return false;
    deps.hold([made.id]);
    if (store.layers.get(made.id)?.unpacked !== true) return false;
    standIns.set(id, made.id);
    ready.add(id);
    return true;
  };
  const sureFormsOf = (record: LayerRecord): readonly Descriptor[] => [
    ...sureForms(record),
    ...Object.values(store.layers.made(record.id)?.blobs ?? {}),
  ];
  const recordOf = (id: LayerId): LayerRecord => {
    const record = store.layers.get(id);
    if (record === null) throw new BuildError("STORE_CORRUPT", `layer ${id} is not in the store`);
    return record;
  };

  const fetchFrom = async (
    remote: RemoteBlob,
    vertex: Digest | null,
    context: CallContext,
    onFile: (path: string) => void = () => {},
  ): Promise<void> => {
    const { digest, size } = remote.descriptor;
    if (store.content.has(digest)) return;
    await tasks.share(`fetch ${digest} ${size} ${remote.from}`, context.signal, async (signal) => {
      let last = 0;
      const report = (current: number, done: boolean): void => {
        if (vertex === null) return;
        const atMs = Date.now();
        if (!done && atMs - last < 100) return;
        last = atMs;
        context.emit({
          kind: "bytes",
          vertex,
          label: digest,
          atMs,
          current,
          total: size,
          done,
        });
      };
      await fetch(remote, {
        signal,
        onBytes: (current) => report(current, false),
        onFile,
        ...(vertex === null
          ? {}
          : { onWait: saysWaiting(context.emit, vertex, "another build that is fetching the same layer") }),
      });
      report(size, true);
    });
  };

  /** What is in use says of the layer: images, or else caches. A size is compared with the blob that is here. */
  const inUse = async (record: LayerRecord, context: CallContext): Promise<readonly Claim[]> => {
    const ofImages = claims.of(record.id);
    const said =
      ofImages.length > 0 || record.remotes.length === 0 || cacheClaims === null
        ? ofImages
        : (await cacheClaims(record.id, context)).map(({ descriptor, from }) => ({
            descriptor,
            from: [from],
          }));
    return said.filter(({ descriptor: { digest, size } }) => {
      const here = store.content.size(digest);
      return (here === null || here === size) && !refuted.has(`${record.id} ${digest}`);
    });
  };

  /** The blob from where it is: the places that were named with it first, then those where others had it. */
  const placesOf = (record: LayerRecord, { descriptor, from }: Claim): readonly LayerForm[] => {
    const others = record.remotes.flatMap((one) =>
      one.descriptor.digest === descriptor.digest ? [one.from] : [],
    );
    return [...new Set([...from, ...others])].map((place) => ({
      descriptor,
      remote: { descriptor, from: place },
    }));
  };

  /** All that may hold the layer: blobs that are here, then the same and others from where they are; the likeliest first. */
  const candidates = (record: LayerRecord, said: readonly Claim[]): readonly LayerForm[] => {
    const sure = sureFormsOf(record).map((descriptor): Claim => ({ descriptor, from: [] }));
    const hearsay = record.remotes.map(({ descriptor, from }): Claim => ({ descriptor, from: [from] }));
    const here = [...sure, ...said, ...hearsay].flatMap(({ descriptor }): LayerForm[] =>
      store.content.has(descriptor.digest) ? [{ descriptor, remote: null }] : [],
    );
    return [...here, ...[...said, ...sure, ...hearsay].flatMap((claim) => placesOf(record, claim))];
  };

  const learn = (id: LayerId, { digest }: Descriptor, found: Contents): void => {
    const record = recordOf(id);
    if (isSure(record, digest) || found.compression === "bzip2" || found.compression === "xz") return;
    const size = store.content.size(digest);
    if (size === null) return;
    store.layers.update(id, {
      ...asVerified(record, { mediaType: MEDIA_TYPES[found.compression], digest, size }),
      tarBytes: { ...record.tarBytes, "": found.tarBytes },
    });
  };

  const forget = (id: LayerId, blob: Digest): void => {
    refuted.add(`${id} ${blob}`);
    const record = store.layers.get(id);
    if (record !== null) store.layers.update(id, asRefuted(record, blob));
  };

  /** `work` looks into one blob after the other, until one is the layer; if it is `early`, also into one that is just being fetched. */
  const firstOf = async <T extends Contents>(
    record: LayerRecord,
    forms: readonly LayerForm[],
    { vertex, early: isEarly }: { readonly vertex: Digest | null; readonly early: boolean },
    context: CallContext,
    work: (blob: LayerBlob, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const { id, diffId } = record;
    const tried = new Set<string>();
    const failures: BuildError[] = [];
    const damaged: string[] = [];
    const failed = (error: unknown): void => {
      if (context.signal.aborted || !(error instanceof BuildError) || OF_MACHINE.has(error.code)) throw error;
      failures.push(error);
    };
    for (const { descriptor, remote } of forms) {
      const { digest, size, mediaType } = descriptor;
      const place = `${digest} ${remote === null ? "" : `${size} ${remote.from}`}`;
      if (tried.has(place) || refuted.has(`${id} ${digest}`)) continue;
      tried.add(place);
      const path = store.content.path(digest);
      let begun: { readonly outcome: Promise<T> } | null = null;
      try {
        if (remote !== null && !isEarly) await fetchFrom(remote, vertex, context);
        else if (remote !== null)
          begun = await early.during(
            size,
            (onFile) => fetchFrom(remote, vertex, context, onFile),
            ({ path: writing, whole }, stop) =>
              work(
                { path, mediaType, digest, arriving: { path: writing, sizeBytes: size, whole } },
                AbortSignal.any([context.signal, stop]),
              ),
          );
      } catch (error) {
        failed(error);
        continue;
      }
      if (begun === null && !store.content.has(digest)) continue; // it was no file, or is just being collected
      try {
        const found = await (begun?.outcome ??
          work({ path, mediaType, digest, arriving: null }, context.signal));
        if (diffId !== null && found.diffId !== diffId) {
          throw new BuildError(
            "DIGEST_MISMATCH",
            `the layer has diff ID ${found.diffId}, but the image config says ${diffId}`,
          );
        }
        learn(id, descriptor, found);
        return found;
      } catch (error) {
        failed(error);
        // Wrong bytes on the disk, or a wrong claim? A blob that is gone was set aside or collected by somebody else.
        if (!(await store.content.isWhole(digest, context))) {
          damaged.push(path);
          const message = `the blob ${path} is damaged: it was set aside and will be fetched or rebuilt`;
          context.emit({ kind: "note", message });
        } else if (OF_CONTENT.has((error as BuildError).code)) forget(id, digest);
        else throw error;
      }
    }
    throw lost(record, damaged, failures);
  };

  /** A directory that cannot be used as it is, as a blob: made while there was one id only, to be unpacked with the owners it
   *  notes, or a layer of an image with other times than the step gave. */
  const packOther = async (
    record: LayerRecord,
    from: { readonly id: LayerId; readonly epochSeconds: number | null },
    context: CallContext,
  ): Promise<void> => {
    await using ingest = store.content.ingest();
    const packed = await keeper().run(
      {
        kind: "pack",
        dir: store.layers.directory(from.id),
        out: ingest.path,
        compression: "uncompressed",
        level: null,
        epochSeconds: from.epochSeconds,
        oneId: store.layers.isOfOtherIds(from.id),
      },
      { signal: context.signal },
    );
    const { diffId: digest, tarBytes: size } = packed;
    if (isBaseLayer(record.id) && digest !== record.diffId) return; // its directory is not what it was
    ingest.commit({ digest, size, trusted: true });
    const descriptor = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size };
    store.layers.update(record.id, { diffId: digest, blobs: { ...record.blobs, uncompressed: descriptor } });
  };

  /** The record and all that may hold the layer. */
  const mayHold = async (
    id: LayerId,
    context: CallContext,
  ): Promise<{ readonly record: LayerRecord; readonly forms: readonly LayerForm[] }> => {
    const record = recordOf(id);
    const said = await inUse(record, context);
    const forms = candidates(record, said);
    const isHere = forms.some(({ remote }) => remote === null);
    const made = store.layers.made(id);
    if (store.layers.isOfOtherIds(id)) {
      if (forms.length > 0) return { record, forms };
      await packOther(record, { id, epochSeconds: null }, context);
    } else if (made !== null && !isHere) {
      deps.hold([made.id]);
      if (!made.record.unpacked && !store.layers.isOfOtherIds(made.id)) return { record, forms };
      await packOther(record, made, context);
    } else return { record, forms };
    return { record: recordOf(id), forms: candidates(recordOf(id), said) };
  };

  const unpackOne = (id: LayerId, vertex: Digest, asking: CallContext): Promise<void> =>
    tasks.share(`unpack ${id}`, asking.signal, async (signal) => {
      if (hasStandIn(id)) return;
      const context: CallContext = { ...asking, signal };
      await store.exclusively(
        `unpack ${id}`,
        async () => {
          if (recordOf(id).unpacked) return; // another process was quicker
          const { record, forms } = await mayHold(id, context);
          await firstOf(record, forms, { vertex, early: true }, context, async (blob, stop) => {
            await using active = store.layers.prepare();
            const { diffId } = record;
            const { digest, arriving } = blob;
            const tell = (done: boolean): void =>
              context.emit({
                ...{ kind: "bytes", vertex, label: `extracting ${digest}`, atMs: Date.now() },
                ...{ current: 0, total: null, done },
              });
            // What is left to do once it is here.
            const shown = (arriving?.whole ?? Promise.resolve()).then(() => tell(false));
            shown.catch(() => {}); // whoever fetches knows
            const outcome = await keeper().run(
              {
                ...{ kind: "apply", blob: blob.path, mediaType: blob.mediaType, diffId, dir: active.upper },
                ...(arriving === null
                  ? {}
                  : { arriving: { path: arriving.path, sizeBytes: arriving.sizeBytes } }),
              },
              { signal: stop },
            );
            await shown; // nothing is believed of a blob that is not verified
            for (const message of outcome.notes ?? []) context.emit({ kind: "note", message });
            const { sizeBytes } = outcome;
            active.commit({ ...recordOf(id), unpacked: true, diffId: outcome.diffId, sizeBytes }, id);
            tell(true);
            return outcome;
          });
        },
        {
          signal,
          onWait: saysWaiting(context.emit, vertex, "another build that is unpacking the same layer"),
          sparesWork: true,
        },
      );
    });

  /** Looks into blobs until one is the layer; false: none is. */
  const settle = async (id: LayerId, forms: readonly LayerForm[], context: CallContext): Promise<boolean> => {
    try {
      await firstOf(recordOf(id), forms, WHOLE, context, ({ path: blob }) =>
        keeper().run({ kind: "plain", blob }, { signal: context.signal }),
      );
      return true;
    } catch (error) {
      if (context.signal.aborted || !(error instanceof BuildError) || OF_MACHINE.has(error.code)) throw error;
      return false;
    }
  };

  /** What may be passed on, best first. */
  const chosen = async (id: LayerId, context: CallContext, unseen: boolean): Promise<readonly Claim[]> => {
    const record = recordOf(id);
    const said = await inUse(record, context);
    const [only] = said;
    if (said.length > 1) {
      // All of them, so that what goes out does not depend on which was looked into first.
      for (const claim of said) {
        const { digest } = claim.descriptor;
        if (isSure(recordOf(id), digest)) continue;
        const same = candidates(record, [claim]).filter((one) => one.descriptor.digest === digest);
        await settle(id, same, context);
      }
    } else if (only === undefined && !unseen && sureFormsOf(record).length === 0) {
      // A step's layer that is unpacked is packed again in less time than it comes from elsewhere.
      const isHere = id.startsWith("r-") ? record.unpacked : store.layers.made(id)?.record.unpacked === true;
      const all = candidates(record, []);
      await settle(id, isHere ? all.filter(({ remote }) => remote === null) : all, context);
    }
    const sure = recordOf(id).verified ?? [];
    const said1 = said.length === 1 ? said : [];
    const isSaid = ({ digest }: Descriptor): boolean =>
      said.some(({ descriptor }) => descriptor.digest === digest);
    const first = sure.filter(isSaid).sort((a, b) => (a.digest < b.digest ? -1 : 1));
    const others = sure.filter((one) => !isSaid(one));
    const withSaid = (one: Descriptor): Descriptor => {
      const same = said.find(({ descriptor }) => descriptor.digest === one.digest);
      return same === undefined ? one : { ...withTable(same.descriptor), mediaType: one.mediaType };
    };
    return [...said1, ...[...first, ...others].map((one) => ({ descriptor: withSaid(one), from: [] }))];
  };

  return {
    async directories(layers, vertex, context) {
      const missing = layers.filter((id) => !isReady(id));
      const results = await Promise.allSettled(missing.map((id) => unpackOne(id, vertex, context)));
      for (const result of results) if (result.status === "rejected") throw result.reason;
      // A merge may name one layer twice; overlayfs refuses that, and the upper one covers the lower.
      const resolved = layers.map((id) => standIns.get(id) ?? id);
      let stack = resolved.filter((id, index) => resolved.lastIndexOf(id) === index);
      const directories = (ids: readonly LayerId[]): string[] => ids.map((id) => store.layers.directory(id));
      while (stack.length > DEPTH_MAX) {
        const oldest = stack.slice(0, MERGED_AT_ONCE);
        const merged = await merge(oldest, directories(oldest), context);
        stack = [merged, ...stack.slice(MERGED_AT_ONCE)];
      }
      return directories(stack);
    },
    async forms(layer, context, unseen = false) {
      const record = recordOf(layer);
      return (await chosen(layer, context, unseen)).flatMap((claim): readonly LayerForm[] =>
        store.content.has(claim.descriptor.digest)
          ? [{ descriptor: claim.descriptor, remote: null }]
          : placesOf(record, claim),
      );
    },
    async fetch(layer, vertex, context) {
      const failures: BuildError[] = [];
      for (const { remote } of await this.forms(layer, context)) {
        if (remote === null) return;
        try {
          await fetchFrom(remote, vertex, context);
          return;
        } catch (error) {
          if (context.signal.aborted || !(error instanceof BuildError) || OF_MACHINE.has(error.code))
            throw error;
          failures.push(error);
        }
      }
      const record = recordOf(layer);
      if (failures.length > 0 || sureFormsOf(record).every(({ digest }) => !store.content.has(digest)))
        throw lost(record, [], failures);
    },
    async withBlob(layer, context, work) {
      const { record, forms } = await mayHold(layer, context);
      return firstOf(record, forms, WHOLE, context, ({ path }) => work(path));
    },
  };
}

/** None of the blobs is there and holds the layer. */
function lost(
  { description }: LayerRecord,
  damaged: readonly string[],
  failures: readonly BuildError[],
): BuildError {
  const [file] = damaged;
  const [first] = failures;
  if (file === undefined && first !== undefined) return first;
  const what = description === "" ? "a layer" : `a layer (${description})`;
  return new BuildError(
    "STORE_CORRUPT",
    file === undefined
      ? `${what} is not in the local store, and no registry is known to have it`
      : `${what} is lost: its blob ${file} was damaged on disk, and there is no other source for it`,
    { hint: "pull or build the image again", cause: failures.at(-1) },
  );
}
