// --max-storage and TSBUILD_MAX_STORAGE: how large the store may become.

import { defaultCeiling, diskBytes, keepBelow } from "../cache/ceiling.ts";
import type { Measure } from "../cache/collect.ts";
import type { OpenStore } from "../cache/store.ts";
import { BuildError } from "../solver/graph/error.ts";
import { parseSize } from "./flags-values.ts";

/** Bytes for "20GB" or "10%" of the disk; null for "unlimited" or "0". Nothing said: the default. Throws USAGE. */
export function parseStorageLimit(text: string | null | undefined, disk: number): number | null {
  if (text === null || text === undefined || text === "") return defaultCeiling(disk);
  if (text === "unlimited" || text === "0") return null;
  const share = /^(\d{1,2}(?:\.\d+)?|100)%$/.exec(text);
  if (share !== null) return Math.floor((disk * Number(share[1])) / 100);
  try {
    return parseSize(text);
  } catch (cause) {
    throw new BuildError("USAGE", `invalid --max-storage: ${JSON.stringify(text)}`, {
      cause,
      hint: "write it like 20GB, 10% or unlimited",
    });
  }
}

/** After a build: cache goes when the store is over its limit. `remove` deletes directories that hold foreign owners. */
export async function keepToLimit(
  store: OpenStore,
  text: string | null | undefined,
  options: {
    readonly signal: AbortSignal;
    readonly remove: (directories: readonly string[]) => Promise<void>;
    readonly measure: Measure;
    readonly note: (message: string) => void;
  },
): Promise<void> {
  const ceilingBytes = parseStorageLimit(text, diskBytes(store.dir).total);
  if (ceilingBytes === null) return;
  const outcome = await keepBelow(store, {
    ceilingBytes,
    measure: options.measure,
    signal: options.signal,
  });
  if (outcome === null) return;
  await options.remove(outcome.directories);
  options.note(
    `the store was over its limit of ${ceilingBytes} bytes: ${outcome.freedBytes} bytes of cache removed`,
  );
}
