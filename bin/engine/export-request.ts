// The second half of a build as types: images whose graphs are to be solved and exported.

import type { Attestation } from "../../exporters/contract.ts";
import type { Output } from "../../exporters/output-grammar.ts";
import type { ScanTarget } from "../../frontend/contract.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { ImageConfig } from "../../solver/graph/request.ts";
import type { Origins } from "../../solver/solver.ts";
import type { Attesting } from "./attestations.ts";
import type { BridgeResult } from "./bridge-contract.ts";
import type { OpenBuild } from "./parts.ts";
import type { ScannerImage } from "./sbom-scanner.ts";

/** An image to be exported, and what solves its graph. */
export interface SolvedBy {
  readonly platform: Platform;
  readonly definition: Definition;
  readonly build: OpenBuild;
  readonly noCache: boolean;
  readonly config: ImageConfig;
  readonly baseHistory: number;
  readonly scans: readonly ScanTarget[];
  /** What its frontend says of it. */
  readonly attestations: readonly Attestation[];
}

export interface ExportRequest extends Omit<BridgeResult, "images" | "onExported"> {
  readonly images: readonly SolvedBy[];
  /** Beside those of the terms. */
  readonly outputs: readonly Output[];
  /** null: nothing is said of the results. */
  readonly attesting: Attesting | null;
  /** null: there are no bills of materials but those that frontends bring. */
  readonly scanning: Scanning | null;
  /** Told what the results are made of, before they are exported. */
  readonly onOrigins: (origins: Origins) => Promise<void>;
}

/** What makes bills of materials; null: nothing does. */
export type Scanning =
  | { readonly kind: "built-in" }
  | { readonly kind: "image"; readonly scanner: ScannerImage };
