// Op: one build step as data. Mirrors LLB (pb/ops.proto), so an Op and its bytes are two views of one thing.
/** "linux/arm64/v8" and the like. */
export function formatPlatform(platform) {
    return `${platform.os}/${platform.architecture}${platform.variant ? `/${platform.variant}` : ""}`;
}
//# sourceMappingURL=op.js.map