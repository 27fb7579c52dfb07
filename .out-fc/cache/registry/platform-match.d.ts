import type { Platform } from "../../solver/graph/op.ts";
/** os, architecture and variant in their canonical words: x86_64 is amd64, armhf is arm/v7, arm64/v8 is arm64. */
export declare function normalizePlatform(platform: Platform): Platform;
/** Platforms that run on the wanted one, best first: arm/v7 also takes v6 and v5, amd64/v3 also v2, v1 and 386. */
export declare function acceptablePlatforms(wanted: Platform): readonly Platform[];
/** Place of `offered` in the order of what `wanted` accepts; 0 is best, null does not fit. */
export declare function platformRank(wanted: Platform, offered: Platform): number | null;
