// Layers that lie in the content store, as trees.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import type { Lease } from "../../../cache/contract.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import type { Platform } from "../../../solver/graph/op.ts";
import type { LocalWorker } from "../../../worker/worker.ts";
import type { EngineParts } from "../parts.ts";
import type { EngineTransferOptions } from "../request.ts";
import type { SideLayer } from "./contract.ts";
import { openTarTree } from "./tar-tree.ts";

export interface SideDeps {
  readonly parts: EngineParts;
  readonly worker: LocalWorker;
  readonly lease: Lease;
  readonly options: EngineTransferOptions;
  /** null: this machine's, or the only one. */
  readonly platform: Platform | null;
}

/** A blob of the content store as a tree. */
export function openStoredLayer(
  shown: string,
  digest: Digest,
  diffId: string | null,
  { parts }: Pick<SideDeps, "parts">,
  signal: AbortSignal,
): ReturnType<SideLayer["open"]> {
  const { store } = parts;
  const tempDir = (): string => mkdtempSync(join(store.tempDir(), "compare-"));
  return openTarTree(store.content.path(digest), { signal, shown, diffId, tempDir });
}
