// --max-storage and TSBUILD_MAX_STORAGE: the maximum size of the store.

import { BuildError } from "../solver/graph/error.ts";
import type { StorageLimit } from "./engine/request.ts";
import { parseSize } from "./flags-values.ts";

/** "20GB", "10%" of the disk, "unlimited" or "0"; null: nothing is said. Throws USAGE. */
export function parseStorageLimit(text: string | null | undefined): StorageLimit | null {
  if (text === null || text === undefined || text === "") return null;
  if (text === "unlimited" || text === "0") return { kind: "unlimited" };
  const share = /^(\d{1,2}(?:\.\d+)?|100)%$/.exec(text);
  if (share !== null) return { kind: "share", share: Number(share[1]) / 100 };
  try {
    return { kind: "bytes", bytes: parseSize(text) };
  } catch (cause) {
    throw new BuildError("USAGE", `invalid --max-storage: ${JSON.stringify(text)}`, {
      cause,
      hint: "use a size like 20GB, 10% or unlimited",
    });
  }
}
