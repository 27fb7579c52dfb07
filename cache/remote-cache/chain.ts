// One step of a finished build for the export of caches. The solver knows the keys, the exporter the layers; these are the
// types between them.

import type { Digest } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";

export interface ChainStep {
  readonly name: string;
  /** Key by definition: 64 hex digits. */
  readonly key: string;
  readonly outputs: readonly (readonly LayerId[] | null)[];
  /** There is a record of it: it is something to be found. false: a pinned source, a mere stack of others, or what its definition keeps out
   *  of caches. */
  readonly isRecorded: boolean;
  readonly createdAtMs: number;
  /** What each input is: an output of an earlier step, files by their content, or (null) nothing that has a name. */
  readonly inputs: readonly (
    | { readonly step: number; readonly output: number }
    | { readonly content: Digest }
    | null
  )[];
  /**
   * The other keys it has once layers are named by `rename` as they will be where the cache is imported; null: a layer has no
   * such name.
   */
  readonly otherKeys: (
    rename: (layers: readonly LayerId[]) => readonly LayerId[] | null,
  ) => readonly string[];
}
