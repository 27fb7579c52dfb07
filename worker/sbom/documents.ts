// The documents of a scan. Pure: the same scan and inputs give the same bytes.

import { cycloneDx } from "./cyclonedx.ts";
import type { DocumentInputs, Scan } from "./contract.ts";
import { spdxDocument } from "./spdx.ts";

/** Predicate type of an in-toto statement whose predicate is spdxPredicate(). */
export const SPDX_PREDICATE_TYPE = "https://spdx.dev/Document";
/** Predicate type of an in-toto statement whose predicate is cycloneDxPredicate(). */
export const CYCLONEDX_PREDICATE_TYPE = "https://cyclonedx.org/bom";

/** The SPDX 2.3 document as the predicate of an in-toto statement (in-toto attestation framework, predicates/spdx.md). */
export function spdxPredicate(scan: Scan, inputs: DocumentInputs): Record<string, unknown> {
  return spdxDocument(scan, inputs);
}

/** The CycloneDX 1.6 document as the predicate of an in-toto statement (predicates/cyclonedx.md). */
export function cycloneDxPredicate(scan: Scan, inputs: DocumentInputs): Record<string, unknown> {
  return cycloneDx(scan, inputs);
}

/** A document as a file, with a newline at its end. */
export function documentText(
  format: "spdx-json" | "cyclonedx-json",
  scan: Scan,
  inputs: DocumentInputs,
): string {
  const document = format === "spdx-json" ? spdxDocument(scan, inputs) : cycloneDx(scan, inputs);
  return `${JSON.stringify(document, null, 1)}\n`;
}
