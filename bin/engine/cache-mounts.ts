// Export and import of cache mounts: packed and restored by the keeper, which can read files of all
// owners; sent and fetched here.

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { MountSource } from "../../cache/remote-cache/imports.ts";
import {
  MOUNT_ID_ANNOTATION,
  MOUNT_INDEX_TYPE,
  MOUNT_PACK_TYPE,
  readCache,
} from "../../cache/remote-cache/manifest.ts";
import {
  MOUNT_INDEX_MAX_BYTES,
  PACK_FILE_MAX_BYTES,
  parseMountIndex,
} from "../../cache/remote-cache/mount-index.ts";
import { type CachePlace, remoteIn } from "../../cache/remote-cache/place.ts";
import type { PackedMount } from "../../cache/remote-cache/mount-pack.ts";
import { pullLayer } from "../../cache/registry/image.ts";
import type { ExtraBlob } from "../../exporters/cache-export.ts";
import { type Digest, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { Scope } from "../../solver/graph/scope.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { CacheLocation } from "./cache-location.ts";
import type { ObjectCaches } from "./object-caches.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import type { Store } from "../../cache/contract.ts";
import type { MountReport, MountsExported, MountsImported } from "./request.ts";

export interface MountParts {
  readonly store: Store;
  readonly keeper: () => Keeper;
  readonly objects: ObjectCaches;
}

export interface PackedMounts {
  /** For the manifest of the cache: indexes and packs, existing and new ones. */
  readonly blobs: readonly ExtraBlob[];
  readonly reports: readonly MountReport[];
}

/** As the value of `left`. */
export const IN_USE = "in use";

const PULLS_AT_ONCE = 4;

/**
 * Packs the local cache mounts with these ids (null: all), and keeps the others of `place`. Only pieces missing in
 * existing packs are packed. Disposing deletes the temporary files.
 */
export async function packMounts(
  parts: MountParts,
  ids: readonly string[] | null,
  place: CachePlace,
  signal: AbortSignal,
): Promise<PackedMounts & AsyncDisposable> {
  const { store } = parts;
  const before = await readCache(place, { signal }).catch(() => null); // a broken cache is rewritten
  const dir = mkdtempSync(join(store.tempDir(), "mounts-"));
  const blobs = new Map<Digest, ExtraBlob>();
  const reports: MountReport[] = [];
  const dispose = async (): Promise<void> => rmSync(dir, { recursive: true, force: true });
  const carried = new Set(before?.mounts.keys());
  const carry = async (id: string): Promise<void> => {
    const index = before?.mounts.get(id);
    if (index === undefined || before === null) return;
    const bytes = await readIndex(place, index, signal);
    blobs.set(index.digest, { descriptor: index, open: null });
    for (const pack of parseMountIndex(bytes).packs) {
      const descriptor = before.packs.get(pack.digest);
      if (descriptor !== undefined) blobs.set(pack.digest, { descriptor, open: null });
    }
  };
  try {
    for (const id of new Set(plainMounts(store).map((mount) => mount.id))) {
      if (!isNamed(id, ids)) continue;
      await using hold = await store.cacheMounts.read(id, { signal });
      if (hold === null) {
        reports.push({ id, files: 0, bytes: 0, leftOut: 0, left: IN_USE });
        continue;
      }
      const out = join(dir, String(reports.length));
      mkdirSync(out);
      const previous = before?.mounts.get(id);
      const previousFile = previous === undefined ? null : await fetchIndex(parts, place, previous, signal);
      let packed: PackedMount;
      try {
        const job = { kind: "pack-mount", dir: hold.path, previous: previousFile, out } as const;
        packed = await parts.keeper().run(job, { signal });
      } catch (error) {
        if (!(error instanceof BuildError && error.code === "LIMIT_EXCEEDED")) throw error;
        // Content of one mount must not prevent the export of others.
        reports.push({ id, files: 0, bytes: 0, leftOut: 0, left: error.message });
        continue;
      }
      const read = (digest: Digest) => () => fileBytes(join(out, hexOf(digest)));
      const isSame = previous?.digest === packed.index.digest;
      blobs.set(packed.index.digest, {
        descriptor: {
          mediaType: MOUNT_INDEX_TYPE,
          ...packed.index,
          annotations: { [MOUNT_ID_ANNOTATION]: id },
        },
        open: isSame ? null : read(packed.index.digest),
      });
      for (const { digest, size, isNew } of packed.packs) {
        blobs.set(digest, {
          descriptor: { mediaType: MOUNT_PACK_TYPE, digest, size },
          open: isNew ? read(digest) : null,
        });
      }
      carried.delete(id);
      const { files, bytes, leftOut } = packed;
      reports.push({ id, files, bytes, leftOut, left: null });
    }
    for (const id of carried) await carry(id).catch(() => {}); // a broken one is not worth keeping
    return { blobs: [...blobs.values()], reports, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Fetches the content of a cache mount into an empty directory. Throws REGISTRY_*, IMAGE_INVALID…; the directory is
 *  then empty. `onBytes` is called with fetched bytes. */
export async function fillMount(
  parts: MountParts,
  source: MountSource,
  dir: string,
  registry: Registry,
  options: {
    readonly signal: AbortSignal;
    readonly onBytes: (label: string, current: number, total: number, done: boolean) => void;
  },
): Promise<{ readonly files: number; readonly bytes: number }> {
  const { store } = parts;
  await using scope = new Scope(options.signal);
  const lease = scope.use(store.lease());
  const fetch = async (descriptor: Descriptor, signal: AbortSignal): Promise<string> => {
    if (descriptor.size > PACK_FILE_MAX_BYTES && descriptor !== source.index)
      throw new BuildError("LIMIT_EXCEEDED", "a pack of a cache mount is too large");
    lease.addBlobs([descriptor.digest]);
    const label = `sha256:${descriptor.digest.slice(7, 19)}`;
    if (!store.content.has(descriptor.digest)) {
      const onBytes = (current: number): void => options.onBytes(label, current, descriptor.size, false);
      await pullLayer(remoteIn(source.place, descriptor), store, registry, { signal, onBytes });
      options.onBytes(label, descriptor.size, descriptor.size, true);
    }
    return store.content.path(descriptor.digest);
  };
  if (source.index.size > MOUNT_INDEX_MAX_BYTES)
    throw new BuildError("LIMIT_EXCEEDED", "the index of a cache mount is too large");
  const index = await fetch(source.index, scope.signal);
  const { packs } = parseMountIndex(store.content.read(source.index.digest, MOUNT_INDEX_MAX_BYTES));
  const files: Record<string, string> = {};
  const waiting = packs.map(({ digest }) => source.packs.get(digest));
  await scope.all(
    Array.from({ length: Math.min(PULLS_AT_ONCE, waiting.length) }, () => async (signal: AbortSignal) => {
      for (let next = waiting.shift(); waiting.length > 0 || next !== undefined; next = waiting.shift()) {
        if (next !== undefined) files[next.digest] = await fetch(next, signal);
      }
    }),
  );
  return await parts
    .keeper()
    .run({ kind: "restore-mount", index, packs: files, dir }, { signal: options.signal });
}

export interface MountTransferOptions {
  readonly signal: AbortSignal;
  readonly registry: () => Promise<Registry>;
}

/** `tsbuild cache-mounts export`: mounts with these ids (null: all) to a cache, which keeps its results. */
export async function exportMountsTo(
  parts: MountParts,
  at: CacheLocation,
  ids: readonly string[] | null,
  { signal, registry }: MountTransferOptions,
): Promise<MountsExported> {
  const [{ exportMounts }, { openPlace }] = await Promise.all([
    import("../../exporters/cache-export.ts"),
    import("./cache-place.ts"),
  ]);
  const place = await openPlace(at, registry, parts.objects);
  await using packed = await packMounts(parts, ids, place, signal);
  const form = { imageManifest: true, ociTypes: true };
  const { sentBytes } = await exportMounts(packed.blobs, place, form, {
    ...{ signal, emit: () => {}, vertex: null, nowMs: Date.now },
  });
  return { reports: packed.reports, sentBytes };
}

/** `tsbuild cache-mounts import`: mounts with these ids (null: all) from a cache. Existing ones are skipped. Throws
 *  IMAGE_UNKNOWN if there is no cache. */
export async function importMountsFrom(
  parts: MountParts,
  at: CacheLocation,
  ids: readonly string[] | null,
  { signal, registry }: MountTransferOptions,
): Promise<MountsImported> {
  const { openPlace } = await import("./cache-place.ts");
  const place = await openPlace(at, registry, parts.objects);
  const cache = await readCache(place, { signal });
  if (cache === null) throw new BuildError("IMAGE_UNKNOWN", `there is no build cache at ${place.name}`);
  const reports: { id: string; files: number; bytes: number; isKept: boolean }[] = [];
  const lacking = ids?.find((name) => ![...cache.mounts.keys()].some((id) => isNamed(id, [name])));
  if (lacking !== undefined) {
    throw new BuildError(
      "IMAGE_UNKNOWN",
      `the build cache ${place.name} has no cache mount ${JSON.stringify(lacking)}`,
    );
  }
  for (const [id, index] of cache.mounts) {
    if (!isNamed(id, ids)) continue;
    await using hold = await parts.store.cacheMounts.acquire(id, "shared", { signal, seedKey: "" });
    if (!hold.fresh) {
      reports.push({ id, files: 0, bytes: 0, isKept: true });
      continue;
    }
    const source = { place, index, packs: cache.packs };
    const filled = await fillMount(parts, source, hold.path, await registry(), { signal, onBytes: () => {} });
    reports.push({ id, ...filled, isKept: false });
  }
  return reports;
}

/** The id of a cache mount as in the Dockerfile: in the store it is prefixed with the frontend's name space and "/". */
export function shownId(id: string): string {
  return id.startsWith("/") ? id.slice(1) : id;
}

/** null: all. */
export function isNamed(id: string, names: readonly string[] | null): boolean {
  return names === null || names.includes(id) || names.includes(shownId(id));
}

/** Cache mounts that start empty. Those that start with files of a stage are identified by that stage's layers, whose ids differ
 *  on every machine. */
export function plainMounts(store: Store): ReturnType<Store["cacheMounts"]["list"]> {
  return store.cacheMounts
    .list()
    .filter(({ id, path }) => basename(dirname(dirname(path))) === directoryOf(id));
}

/** Name of a mount's directory: cache/cache-mounts.ts. */
function directoryOf(id: string): string {
  return createHash("sha256").update(`${id}\0`).digest("hex");
}

async function readIndex(place: CachePlace, index: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
  return place.blob(index, MOUNT_INDEX_MAX_BYTES, { signal });
}

async function fetchIndex(
  { store }: MountParts,
  place: CachePlace,
  index: Descriptor,
  signal: AbortSignal,
): Promise<string | null> {
  try {
    if (!store.content.has(index.digest)) store.content.put(await readIndex(place, index, signal));
    return store.content.path(index.digest);
  } catch (error) {
    if (error instanceof BuildError) return null; // packed as for the first time
    throw error;
  }
}

async function* fileBytes(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const { createReadStream } = await import("node:fs");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) yield chunk as Uint8Array;
}
