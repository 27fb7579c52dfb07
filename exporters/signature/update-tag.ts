// Changes what a tag of a registry stands for, where others do the same. Registries have no conditional writes: of two who read, add and
// write at the same moment, the second one removes what the first has added. So each one looks again whether its own is there.

import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Registry, SignalOptions } from "../../cache/registry/contract.ts";
import { formatRepository, type Reference } from "../../cache/registry/reference.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { TagChange } from "./contract.ts";

/** Writes until what is added stays. In each round of writers one at least is done. */
const ATTEMPTS_MAX = 20;
/** Between a write and the look at it: another writer who has read before must have written by then. Each takes as long as this one did, more
 *  or less. */
const SETTLE_MIN_MS = 80;
const SETTLE_MAX_MS = 2_000;
const SETTLE_FACTOR = 3;

/** See `SignaturePlace.update`. Mirrors are not asked: they may be behind. */
export async function updateTag(
  registry: Registry,
  repository: Reference,
  tag: string,
  change: TagChange,
  { signal }: SignalOptions,
): Promise<void> {
  const { askedAs: _asked, ...plain } = repository;
  const read = async (): Promise<Uint8Array | null> => {
    try {
      return (await registry.manifest({ ...plain, tag, digest: null }, { signal, noMirrors: true })).bytes;
    } catch (error) {
      if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return null;
      throw error;
    }
  };
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const early = change(await read());
    if (early === null) return;
    for (const { bytes, descriptor } of early.blobs)
      await registry.uploadBlob(repository, descriptor, () => Readable.from([bytes]), { signal });
    // What takes long is done: from here to the write others must not come between.
    const beginMs = performance.now();
    const next = change(await read());
    if (next === null) return;
    const { bytes, descriptor } = next.manifest;
    const sent = new Set(early.blobs.map((blob) => blob.descriptor.digest));
    for (const blob of next.blobs.filter((one) => !sent.has(one.descriptor.digest)))
      await registry.uploadBlob(repository, blob.descriptor, () => Readable.from([blob.bytes]), { signal });
    await registry.putManifest(repository, tag, bytes, descriptor.mediaType, { signal });
    const tookMs = performance.now() - beginMs;
    const settleMs = Math.min(SETTLE_MAX_MS, Math.max(SETTLE_MIN_MS, SETTLE_FACTOR * tookMs));
    // By chance: those who write at the same moment are to come apart.
    await delay(settleMs * (1 + Math.random() * Math.min(attempt, 4)), undefined, { signal });
  }
  if (change(await read()) === null) return;
  throw new BuildError(
    "REGISTRY_PROTOCOL",
    `${formatRepository(repository)}:${tag}: the list of signatures loses what is added to it`,
    { hint: "others may be writing it: try again" },
  );
}
