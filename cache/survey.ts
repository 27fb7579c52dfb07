// A survey of the whole store: what exists, what refers to it, what is in use. Used by collect.ts for its decisions.

import { closeSync, constants } from "node:fs";
import { type Digest, isDigest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { sureForms } from "./claims.ts";
import { errnoOf } from "./disk-fault.ts";
import { IMAGE_SPACE } from "./image-record.ts";
import { namesIn, openDirectory, openIn, statIn } from "./outside.ts";
import { RECORD_SPACES, summedSpaces } from "./record-spaces.ts";
import { STAT_SPACE, savedAtMs } from "./stat-cache.ts";
import type { OpenStore } from "./store.ts";
import { MANIFEST_MAX_BYTES } from "./registry/documents.ts";
import type { UsageEntry } from "./usage-entry.ts";
import type { ImageRecord, LayerRecord, ResultRecord } from "./contract.ts";

export interface Survey {
  readonly entries: readonly UsageEntry[];
  readonly layers: ReadonlyMap<LayerId, LayerRecord>;
  readonly blobs: ReadonlySet<Digest>;
  /** In use by images only, but their blobs are here: the unpacked directory can be made again. */
  readonly repackable: ReadonlySet<string>;
  /** Spaces of records that are recreated by asking once more; each is one entry. */
  readonly cheap: ReadonlySet<string>;
  /** Entry id of a cache mount, or of a copy of a client's files → its path. */
  readonly mountPaths: ReadonlyMap<string, string>;
}

/** What leads to a thing: how often, when last, and its first name. */
interface Trace {
  count: number;
  lastUsedMs: number;
  name: string;
}

/** What must stay: held by leases, or led to by image names. */
export interface Needed {
  readonly layers: ReadonlySet<LayerId>;
  readonly blobs: ReadonlySet<Digest>;
  /** Layers held by leases, with their directories. */
  readonly leasedLayers: ReadonlySet<LayerId>;
  readonly busy: boolean;
}

/** Leases first, then names (leases.ts). `known`: documents read before; they never change. */
export async function needed(store: OpenStore, known: Map<Digest, unknown> = new Map()): Promise<Needed> {
  const pinned = await store.pinned();
  const layers = new Set(pinned.layers);
  const leasedLayers = withMade(store, pinned.layers);
  const blobs = new Set<Digest>();
  for (const digest of pinned.blobs) for (const one of reach(store, digest, known)) blobs.add(one);
  for (const { value } of store.records.entries<ImageRecord>(IMAGE_SPACE)) {
    for (const digest of reach(store, value.target.digest, known)) blobs.add(digest);
    for (const id of Object.values(value.layers).flat()) layers.add(id);
  }
  // A lease on a layer holds what it can be unpacked from, and what stands in for it.
  const held = withMade(store, layers);
  for (const id of held) {
    const record = store.layers.get(id);
    if (record !== null) for (const { digest } of formsOf(record)) blobs.add(digest);
  }
  return { layers: held, blobs, leasedLayers, busy: pinned.busy };
}

/** With the layers made here that stand in for some of them. */
function withMade(store: OpenStore, layers: ReadonlySet<LayerId>): ReadonlySet<LayerId> {
  return new Set([...layers].flatMap((id) => [id, ...madeOf(store, id)]));
}

function madeOf(store: OpenStore, id: LayerId): readonly LayerId[] {
  const made = store.layers.get(id)?.unpacked === true ? null : store.layers.made(id);
  return made === null ? [] : [made.id];
}

/** Blobs a layer may be had from: some surely, some as somebody said (claims.ts). */
function formsOf(record: LayerRecord): readonly { readonly digest: Digest }[] {
  const { blobs, verified = [], remotes } = record;
  return [...Object.values(blobs), ...verified, ...remotes.map(({ descriptor }) => descriptor)];
}

/** While others work, a blob that has just come in may be one that its maker is about to lease. */
const FRESH_MS = 60_000;

/** Bytes on disk below directories that hold files of other owners: what only the keeper can add up. null: it could not. */
export type Measure = (dirs: readonly string[]) => Promise<readonly (number | null)[]>;

/** `measure` is asked for directories this process may not look into as a whole; omitted: what it can see of them counts. */
export async function survey(store: OpenStore, measure: Measure | null = null): Promise<Survey> {
  const documents = new Map<Digest, unknown>();
  const used = await needed(store, documents);
  const layers = new Map(store.layers.list().map((record) => [record.id, record]));
  const blobs = new Map(store.content.list().map((blob) => [blob.digest, blob]));
  const results = [...store.records.entries<ResultRecord>("result")];

  const layerTraces = new Map<LayerId, Trace>();
  // One result has several keys.
  const seen = new Map<string, number>();
  for (const { value } of results) {
    const time = Math.max(value.lastUsedMs, value.createdAtMs);
    const outputs = JSON.stringify(value.outputs);
    if ((seen.get(outputs) ?? -1) >= time) continue;
    const isNew = !seen.has(outputs);
    seen.set(outputs, time);
    for (const id of new Set(value.outputs.flatMap((output) => output ?? [])))
      for (const one of [id, ...madeOf(store, id)]) trace(layerTraces, one, time, value.name, isNew);
  }
  const blobTraces = new Map<Digest, Trace>();
  const usedBy = new Map<LayerId | Digest, string[]>();
  const use = (id: LayerId | Digest, name: string): void => {
    const names = usedBy.get(id);
    if (names === undefined) usedBy.set(id, [name]);
    else if (!names.includes(name)) names.push(name);
  };
  for (const { value: image } of store.records.entries<ImageRecord>(IMAGE_SPACE)) {
    for (const digest of reach(store, image.target.digest, documents)) {
      trace(blobTraces, digest, image.createdAtMs, image.name);
      use(digest, image.name);
    }
    for (const id of new Set(Object.values(image.layers).flat())) {
      for (const one of [id, ...madeOf(store, id)]) {
        trace(layerTraces, one, image.createdAtMs, image.name);
        use(one, image.name);
      }
    }
  }
  const isFresh = (addedAtMs: number): boolean => used.busy && addedAtMs > Date.now() - FRESH_MS;

  const entries: UsageEntry[] = [];
  const hidden: { readonly at: number; readonly dir: string }[] = [];
  const sizeOf = (dir: string): number => {
    const { bytes, whole } = sizeOfTree(dir);
    if (!whole) hidden.push({ at: entries.length, dir });
    return bytes;
  };
  const repackable = new Set<string>();
  for (const record of layers.values()) {
    const known = layerTraces.get(record.id);
    const lastUsedMs = Math.max(record.createdAtMs, known?.lastUsedMs ?? 0);
    const held = formsOf(record).filter((blob) => blobs.has(blob.digest));
    for (const { digest } of held) trace(blobTraces, digest, lastUsedMs, record.description);
    if (!record.unpacked) continue;
    const inUse = used.layers.has(record.id);
    const isSurelyHeld = sureForms(record).some(({ digest }) => blobs.has(digest));
    if (inUse && !used.leasedLayers.has(record.id) && isSurelyHeld) repackable.add(record.id);
    entries.push({
      id: record.id,
      kind: "layer",
      sizeBytes: record.sizeBytes > 0 ? record.sizeBytes : sizeOf(store.layers.directory(record.id)),
      shared: (known?.count ?? 0) > 1,
      inUse,
      reclaimable: !inUse,
      lastUsedMs,
      description: record.description || (known?.name ?? ""),
      images: usedBy.get(record.id) ?? [],
    });
  }
  for (const blob of blobs.values()) {
    const known = blobTraces.get(blob.digest);
    const inUse = used.blobs.has(blob.digest) || isFresh(blob.addedAtMs);
    entries.push({
      id: blob.digest,
      kind: "blob",
      sizeBytes: blob.size,
      shared: (known?.count ?? 0) > 1,
      inUse,
      reclaimable: !inUse,
      lastUsedMs: Math.max(blob.addedAtMs, known?.lastUsedMs ?? 0),
      description: known?.name ?? "",
      images: usedBy.get(blob.digest) ?? [],
    });
  }
  for (const { key, value } of results) {
    const lastUsedMs = Math.max(value.lastUsedMs, value.createdAtMs);
    entries.push(recordEntry(`result:${key}`, JSON.stringify(value).length, lastUsedMs, value.name));
  }
  for (const { key, value } of store.records.entries<Uint8Array>(STAT_SPACE)) {
    entries.push(
      recordEntry(
        `${STAT_SPACE}:${key}`,
        value.length,
        savedAtMs(value),
        RECORD_SPACES[STAT_SPACE]?.holds ?? "",
      ),
    );
  }
  const cheap = new Set<string>();
  for (const { space, holds, kept } of summedSpaces()) {
    let bytes = 0;
    for (const { key, value } of store.records.entries<unknown>(space))
      bytes += key.length + (value instanceof Uint8Array ? value.length : JSON.stringify(value).length);
    if (bytes === 0) continue;
    entries.push({ ...recordEntry(space, bytes, 0, holds), reclaimable: false });
    if (kept === "cheap") cheap.add(space);
  }
  const historyBytes = store.history.totalBytes();
  if (historyBytes > 0)
    entries.push({ ...recordEntry("history", historyBytes, 0, "history of builds"), reclaimable: false });
  const mountPaths = new Map<string, string>();
  const slots = [
    ...store.cacheMounts
      .list()
      .map((slot) => ({ ...slot, kind: "cache-mount", what: "cache mount" }) as const),
    ...store.syncedFiles
      .list()
      .map((slot) => ({ ...slot, kind: "source", what: "synced build context:" }) as const),
  ];
  for (const mount of slots) {
    const [, name = "", slot = ""] = /\/([^/]+)\/slot-([^/]+)\/fs$/.exec(mount.path) ?? [];
    const id = `${name.slice(0, 24)}.${slot}`;
    mountPaths.set(id, mount.path);
    entries.push({
      id,
      kind: mount.kind,
      sizeBytes: sizeOf(mount.path),
      shared: false,
      inUse: mount.inUse,
      reclaimable: !mount.inUse,
      lastUsedMs: mount.lastUsedMs,
      description: `${mount.what} ${mount.id}`,
      images: [],
    });
  }
  const partial = new Set(hidden.map(({ at }) => at));
  if (hidden.length > 0 && measure !== null) {
    const sizes = await measure(hidden.map(({ dir }) => dir));
    hidden.forEach(({ at }, index) => {
      const sizeBytes = sizes[index] ?? null;
      if (sizeBytes === null) return;
      entries[at] = { ...(entries[at] as UsageEntry), sizeBytes };
      partial.delete(at);
    });
  }
  entries.forEach(({ kind, id, sizeBytes }, at) => {
    // Layers never change: what was added up once is noted.
    if (kind !== "layer" || sizeBytes === 0 || partial.has(at)) return;
    if (layers.get(id as LayerId)?.sizeBytes === 0) store.layers.update(id as LayerId, { sizeBytes });
  });
  return { entries, layers, blobs: new Set(blobs.keys()), repackable, cheap, mountPaths };
}

function recordEntry(id: string, sizeBytes: number, lastUsedMs: number, description: string): UsageEntry {
  return {
    id,
    kind: "record",
    sizeBytes,
    shared: false,
    inUse: false,
    reclaimable: true,
    lastUsedMs,
    description,
    images: [],
  };
}

function trace<K>(traces: Map<K, Trace>, key: K, timeMs: number, name: string, counts = true): void {
  const known = traces.get(key);
  if (known === undefined) traces.set(key, { count: 1, lastUsedMs: timeMs, name });
  else {
    if (counts) known.count++;
    known.lastUsedMs = Math.max(known.lastUsedMs, timeMs);
    if (known.name === "") known.name = name;
  }
}

/** A blob and all that it refers to, when it is an image manifest or an index; what is not here is left out. Follows every
 *  "digest" in the places where image-spec manifest.md and image-index.md have descriptors. */
function reach(store: OpenStore, from: Digest, known: Map<Digest, unknown>): Set<Digest> {
  const seen = new Set<Digest>();
  const queue: Digest[] = [from];
  for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
    if (seen.has(digest)) continue;
    seen.add(digest);
    let document = known.get(digest);
    if (document === undefined) {
      document = readDocument(store, digest);
      known.set(digest, document);
    }
    queue.push(...referencesIn(document));
  }
  return seen;
}

function readDocument(store: OpenStore, digest: Digest): unknown {
  const size = store.content.size(digest);
  if (size === null || size > MANIFEST_MAX_BYTES) return null;
  try {
    const bytes = store.content.read(digest, MANIFEST_MAX_BYTES);
    // "{", perhaps after white space: anything else is a layer, not worth decoding.
    const first = bytes.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
    return first === 0x7b ? JSON.parse(Buffer.from(bytes).toString("utf8")) : null;
  } catch {
    // Damaged (set aside by read()), just removed, or no JSON: it leads nowhere.
    return null;
  }
}

function referencesIn(document: unknown): Digest[] {
  if (!isObject(document)) return [];
  const { config, layers, manifests, subject } = document;
  const descriptors: unknown[] = [config, subject];
  for (const list of [layers, manifests]) if (Array.isArray(list)) descriptors.push(...list);
  return descriptors.flatMap((one) => {
    if (!isObject(one) || typeof one["digest"] !== "string") return [];
    return isDigest(one["digest"]) ? [one["digest"]] : [];
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Bytes on disk below a directory; what this process may not look into counts nothing, and then it is not whole. A step may use a
 *  cache mount meanwhile: names are looked up below descriptors, and no link is followed (threat model P1). */
function sizeOfTree(dir: string): { readonly bytes: number; readonly whole: boolean } {
  let total = 0;
  let whole = true;
  const seen = new Set<number>();
  const open: { readonly fd: number; readonly names: Buffer[] }[] = [];
  /** null: it vanished, or is of a subordinate id. */
  const orHidden = <T>(call: () => T): T | null => {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) === null) throw error;
      whole = false;
      return null;
    }
  };
  const enter = (fd: number | null): void => {
    if (fd === null) return;
    open.push({ fd, names: orHidden(() => namesIn(fd)) ?? [] });
  };
  try {
    enter(orHidden(() => openDirectory(dir)));
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const { fd, names } = top;
      const name = names.pop();
      if (name === undefined) {
        closeSync(fd);
        open.pop();
        continue;
      }
      const stat = orHidden(() => statIn(fd, name));
      if (stat === null) continue;
      if (stat.isDirectory()) {
        // The keeper goes to any depth with few descriptors.
        if (open.length < OPEN_DIRECTORIES_MAX)
          enter(orHidden(() => openIn(fd, name, constants.O_RDONLY | constants.O_DIRECTORY)));
        else whole = false;
      } else if (stat.nlink > 1) {
        if (seen.has(stat.ino)) continue;
        seen.add(stat.ino);
      }
      total += stat.blocks * 512;
    }
  } finally {
    for (const { fd } of open) closeSync(fd);
  }
  return { bytes: total, whole };
}
const OPEN_DIRECTORIES_MAX = 128;
