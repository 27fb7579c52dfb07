// Capabilities that are announced: clients ask for nothing else, so each one works.

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
  "gateway.solve.metadata",
  "gateway.solve.evaluate",
  "gateway.evaluate",
  "gateway.warnings",
  "source.metaresolver",
  "importcaches",
  "frontend.inputs",
  "frontend.caps",
];

/** What graphs of clients may contain. */
export const LLB_CAPS: readonly string[] = [
  "exporter.image.annotations",
  "exporter.sourcedateepoch",
  "exporter.multiple",
];
