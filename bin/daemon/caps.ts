// Capabilities that are announced: clients ask for nothing else, so each one works.

import { STEP_CAPS } from "../../solver/graph/llb-caps.ts";

/** What the gateway can do. */
export const FRONTEND_CAPS: readonly string[] = [
  "solve.base",
  "resolveimage",
  "resolveimage.resolvemode",
  "readfile",
  "readdir",
  "statfile",
  "return",
  "returnmap",
  "proto.refarray",
  "reference.output",
  "reference.attestations",
  "gateway.solve.metadata",
  "gateway.solve.evaluate",
  "gateway.evaluate",
  "gateway.exec",
  "gateway.exec.extrahosts",
  "gateway.exec.filesystem",
  "gateway.exec.secretenv",
  "gateway.exec.signals",
  "gateway.warnings",
  "source.metaresolver",
  "importcaches",
  "frontend.inputs",
  "frontend.caps",
];

/** What graphs of clients may contain, and what can be done with their results. */
export const LLB_CAPS: readonly string[] = [
  ...STEP_CAPS,
  "cache.azblob",
  "cache.gha",
  "cache.s3",
  "exporter.image.annotations",
  "exporter.image.attestations",
  "exporter.sourcedateepoch",
  "exporter.multiple",
  "exporter.session",
  "source.policy",
  "source.policy.session",
];
