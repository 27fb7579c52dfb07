// Which manifest of an index matches a platform. containerd/platforms: compare.go (platformVector).

import type { Platform } from "../../solver/graph/op.ts";
import { normalizePlatform } from "../../solver/graph/platform.ts";

/** Platforms that run on the wanted one, best first: arm/v7 also takes v6 and v5, amd64/v3 also v2, v1 and 386. */
export function acceptablePlatforms(wanted: Platform): readonly Platform[] {
  const { os, architecture, variant = "" } = normalizePlatform(wanted);
  const at = (name: string, level = ""): Platform => ({
    os,
    architecture: name,
    ...(level === "" ? {} : { variant: level }),
  });
  const best = at(architecture, variant);
  switch (architecture) {
    case "amd64": {
      const lower: Platform[] = [];
      for (let level = Number(/^v(\d)$/.exec(variant)?.[1] ?? 1) - 1; level >= 1; level--) {
        lower.push(at("amd64", level === 1 ? "" : `v${level}`));
      }
      return [best, ...lower, at("386")];
    }
    case "arm":
      return [best, ...armBelow(variant, at)];
    case "arm64": {
      // v9.n runs what v8.(n+5) does; all run plain arm64 and then 32 bit programs.
      const version = /^v([89])(?:\.(\d))?$/.exec(variant);
      const lower: Platform[] = [];
      if (version !== null) {
        const minor = Number(version[2] ?? 0);
        if (version[1] === "9") {
          for (let n = minor - 1; n >= 0; n--) lower.push(at("arm64", n === 0 ? "v9" : `v9.${n}`));
        }
        const top = version[1] === "9" ? Math.min(minor + 5, 9) : minor - 1;
        for (let n = top; n >= 1; n--) lower.push(at("arm64", `v8.${n}`));
        lower.push(at("arm64"));
      }
      return [best, ...lower, at("arm", "v8"), ...armBelow("v8", at)];
    }
    default:
      return [best];
  }
}

function armBelow(variant: string, at: (name: string, level: string) => Platform): Platform[] {
  const lower: Platform[] = [];
  for (let level = Number(/^v(\d)$/.exec(variant)?.[1] ?? 0) - 1; level >= 5; level--)
    lower.push(at("arm", `v${level}`));
  return lower;
}

/** Place of `offered` in the order of what `wanted` accepts; 0 is best, null does not fit. */
export function platformRank(wanted: Platform, offered: Platform): number | null {
  const given = normalizePlatform(offered);
  const rank = acceptablePlatforms(wanted).findIndex(
    (one) =>
      one.os === given.os &&
      one.architecture === given.architecture &&
      (one.variant ?? "") === (given.variant ?? ""),
  );
  return rank < 0 ? null : rank;
}
