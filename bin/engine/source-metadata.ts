// What is asked of a source before it is used, and what is answered.

import type { Digest } from "../../solver/graph/digest.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { GitMetadata } from "../../worker/sources/git.ts";
import type { ResolvedImage } from "../../frontend/contract.ts";

export interface ResolveOptions {
  readonly platform: Platform | null; // null: this machine's
  /** As of `image.resolvemode`; "": the build's. */
  readonly resolveMode: string;
  /** Name of the step. */
  readonly name: string;
  /** Objects of a git source are wanted too. */
  readonly gitObjects: boolean;
}
export type SourceMetadata =
  | { readonly kind: "image"; readonly image: ResolvedImage }
  | { readonly kind: "git"; readonly git: GitMetadata }
  | {
      readonly kind: "http";
      readonly digest: Digest;
      readonly filename: string;
      readonly modifiedSeconds: number | null;
    }
  /** Nothing is known beforehand. */
  | { readonly kind: "other" };
