import { type Platform } from "../solver/graph/op.ts";
/** A platform in the one form that compares equal: aliases resolved, default variants left out. */
export declare function normalizePlatform(platform: Platform): Platform;
/** "linux/arm64", "arm64", "linux/arm/v7" to a normal platform; what is left out is that of `local`. Throws PLATFORM_UNSUPPORTED. */
export declare function parsePlatform(text: string, local: Platform): Platform;
export declare function samePlatform(a: Platform, b: Platform): boolean;
/** "windows(10.0.17763)/amd64": with the version where there is one. */
export declare function formatPlatformAll(platform: Platform): string;
/** The arguments that are there without a declaration before FROM; `overrides` are the build arguments. */
export declare function platformArgs(build: Platform, target: Platform, targetStage: string | null, overrides: ReadonlyMap<string, string>): Map<string, string>;
