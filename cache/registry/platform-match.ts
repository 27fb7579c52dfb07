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
  const version = wanted.os === "windows" ? windowsRank(wanted.osVersion, given.osVersion) : 0;
  return rank < 0 || version === null ? null : rank + version;
}

/** Builds of Windows Server whose containers run on all later ones up to the next of them. */
const WINDOWS_COMPATIBLE = [26_100, 20_348];

/** 0: the same version, or none is said; a half: one that runs there; null: none does. containerd/platforms: platform_windows_compat.go. */
function windowsRank(wanted = "", offered = ""): number | null {
  if (wanted === offered || wanted === "") return 0;
  if (offered === "") return 0.5;
  const [major, minor, build] = versionOf(wanted);
  const [otherMajor, otherMinor, otherBuild] = versionOf(offered);
  if (major !== otherMajor || minor !== otherMinor) return null;
  const lowest = WINDOWS_COMPATIBLE.find((one) => build >= one) ?? build;
  return lowest <= otherBuild && otherBuild <= build ? 0.5 : null;
}

function versionOf(text: string): readonly [number, number, number] {
  const [major = 0, minor = 0, build = 0] = text
    .split(".")
    .map((part) => (/^\d+$/.test(part) ? Number(part) : 0));
  return [major, minor, build];
}
