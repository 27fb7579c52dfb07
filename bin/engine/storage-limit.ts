// After a build: removes cache when the store exceeds its limit.

import { defaultCeiling, diskBytes, keepBelow } from "../../cache/ceiling.ts";
import type { Measure } from "../../cache/collect.ts";
import type { OpenStore } from "../../cache/store.ts";
import type { StorageLimit } from "./request.ts";

/** Bytes the store may have on a disk of that many; null: as many as there are. */
export function ceilingOf(limit: StorageLimit | null, diskSizeBytes: number): number | null {
  switch (limit?.kind) {
    case undefined:
      return defaultCeiling(diskSizeBytes);
    case "bytes":
      return limit.bytes;
    case "share":
      return Math.floor(diskSizeBytes * limit.share);
    case "unlimited":
      return null;
  }
}

/** Removes cache down to the limit; null: the default one. `remove` deletes directories that hold foreign owners. */
export async function keepToLimit(
  store: OpenStore,
  limit: StorageLimit | null,
  options: {
    readonly signal: AbortSignal;
    readonly remove: (directories: readonly string[]) => Promise<void>;
    readonly measure: Measure;
    readonly note: (message: string) => void;
  },
): Promise<void> {
  const ceilingBytes = ceilingOf(limit, diskBytes(store.dir).total);
  if (ceilingBytes === null) return;
  const outcome = await keepBelow(store, {
    ceilingBytes,
    measure: options.measure,
    signal: options.signal,
  });
  if (outcome === null) return;
  await options.remove(outcome.directories);
  options.note(
    `the store exceeded its limit of ${ceilingBytes} bytes: removed ${outcome.freedBytes} bytes of cache`,
  );
}
