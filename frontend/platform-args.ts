// The predefined platform arguments: TARGETPLATFORM and so on (Dockerfile reference, "Automatic platform ARGs in the global
// scope").

import { formatPlatform, formatPlatformAll, type Platform } from "../solver/graph/op.ts";

/** The arguments that are there without a declaration before FROM; `overrides` are the build arguments. */
export function platformArgs(
  build: Platform,
  target: Platform,
  targetStage: string | null,
  overrides: ReadonlyMap<string, string>,
): Map<string, string> {
  const values: readonly (readonly [string, string])[] = [
    ["BUILDPLATFORM", formatPlatform(build)],
    ["BUILDOS", build.os],
    ["BUILDOSVERSION", build.osVersion ?? ""],
    ["BUILDARCH", build.architecture],
    ["BUILDVARIANT", build.variant ?? ""],
    ["TARGETPLATFORM", formatPlatformAll(target)],
    ["TARGETOS", target.os],
    ["TARGETOSVERSION", target.osVersion ?? ""],
    ["TARGETARCH", target.architecture],
    ["TARGETVARIANT", target.variant ?? ""],
    ["TARGETSTAGE", targetStage ?? "default"],
  ];
  return new Map(values.map(([name, value]) => [name, overrides.get(name) ?? value]));
}
