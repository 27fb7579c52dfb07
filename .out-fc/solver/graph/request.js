// What can be asked of a builder, and what the asking side provides.
export const SCRATCH = { kind: "layers", layers: [] };
//# sourceMappingURL=request.js.map