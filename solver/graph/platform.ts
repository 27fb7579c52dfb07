// Platforms by name. Names, aliases and default variants: containerd/platforms (database.go, platforms.go).

import { BuildError } from "./error.ts";
import { quote } from "./go-quote.ts";
import type { Platform } from "./op.ts";

const SYSTEMS: ReadonlySet<string> = new Set(
  (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 " +
    "windows zos"
  ).split(" "),
);
const ARCHITECTURES: ReadonlySet<string> = new Set(
  (
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc " +
    "ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm"
  ).split(" "),
);

/** A platform in the one form that compares equal: aliases resolved, default variants left out. */
export function normalizePlatform(platform: Platform): Platform {
  const system = platform.os.toLowerCase();
  const [architecture, variant] = normalizeArchitecture(
    platform.architecture.toLowerCase(),
    (platform.variant ?? "").toLowerCase(),
  );
  return {
    os: system === "macos" ? "darwin" : system,
    architecture,
    ...(variant === "" ? {} : { variant }),
    ...(platform.osVersion === undefined || platform.osVersion === ""
      ? {}
      : { osVersion: platform.osVersion }),
  };
}

function normalizeArchitecture(architecture: string, variant: string): readonly [string, string] {
  switch (architecture) {
    case "i386":
      return ["386", ""];
    case "x86_64":
    case "x86-64":
    case "amd64":
      return ["amd64", variant === "v1" ? "" : variant];
    case "aarch64":
    case "arm64":
      return ["arm64", variant === "8" || variant === "v8" || variant === "v8.0" ? "" : variant];
    case "armhf":
      return ["arm", "v7"];
    case "armel":
      return ["arm", "v6"];
    case "arm":
      if (variant === "" || variant === "7") return ["arm", "v7"];
      return ["arm", /^[568]$/.test(variant) ? `v${variant}` : variant];
    default:
      return [architecture, variant];
  }
}

/** "linux/arm64", "arm64", "linux/arm/v7" to a normal platform; what is left out is that of `local`. Throws PLATFORM_UNSUPPORTED. */
export function parsePlatform(text: string, local: Platform): Platform {
  const parts = text.split("/");
  const [first = "", second, third] = parts;
  const [, os = "", osVersion] = /^([A-Za-z0-9_.-]+)(?:\(([A-Za-z0-9_.-]*)\))?$/.exec(first) ?? [];
  if (parts.length > 3) throw notPlatform(`${quote(text)}: cannot parse platform specifier`);
  const wrong = os === "" ? first : parts.slice(1).find((part) => !COMPONENT.test(part));
  if (wrong !== undefined) {
    const form = `platform specifier component must match ${quote(COMPONENT.source)}`;
    throw notPlatform(`${quote(wrong)} is an invalid component of ${quote(text)}: ${form}`);
  }
  if (second !== undefined) {
    return normalizePlatform({ os, architecture: second, variant: third ?? "", osVersion: osVersion ?? "" });
  }
  const named = normalizePlatform({ os, architecture: os });
  if (SYSTEMS.has(named.os)) {
    return normalizePlatform({ ...local, os: named.os, osVersion: osVersion ?? "" });
  }
  if (ARCHITECTURES.has(named.architecture)) return { ...named, os: "linux" };
  throw notPlatform(`${quote(text)}: unknown operating system or architecture`);
}

const COMPONENT = /^[A-Za-z0-9_.-]+$/;

/** In the words of containerd/platforms, which clients look for. */
function notPlatform(message: string): BuildError {
  return new BuildError("PLATFORM_UNSUPPORTED", `${message}: invalid argument`, {
    hint: "a platform is written as linux/amd64 or linux/arm/v7",
  });
}

export function samePlatform(a: Platform, b: Platform): boolean {
  const [one, other] = [normalizePlatform(a), normalizePlatform(b)];
  return (
    one.os === other.os &&
    one.architecture === other.architecture &&
    (one.variant ?? "") === (other.variant ?? "")
  );
}

/** The platform of this machine: Node's architecture name converted to OCI's. */
export function hostPlatform(): Platform {
  switch (process.arch) {
    case "x64":
      return { os: "linux", architecture: "amd64" };
    case "ia32":
      return { os: "linux", architecture: "386" };
    case "arm":
      return { os: "linux", architecture: "arm", variant: "v7" };
    case "ppc64":
      return { os: "linux", architecture: "ppc64le" };
    default:
      return { os: "linux", architecture: process.arch };
  }
}
