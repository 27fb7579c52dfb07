// The predefined platform arguments: TARGETPLATFORM and so on (Dockerfile reference, "Automatic platform ARGs in the global
// scope").

import { formatPlatform, type Platform } from "../solver/graph/op.ts";

/** "windows(10.0.17763)/amd64": with the version where there is one. */
export function formatPlatformAll(platform: Platform): string {
  const text = formatPlatform(platform);
  if (platform.osVersion === undefined || platform.osVersion === "") return text;
  return text.replace(platform.os, `${platform.os}(${platform.osVersion})`);
}

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
