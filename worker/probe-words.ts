// Messages about this machine: what was found, the consequence of a missing feature for builds, and the fix.

import { release } from "node:os";
import { BuildError } from "../solver/graph/error.ts";
import { openCgroups } from "./cgroup.ts";
import { type ResourceLimits, NO_LIMITS } from "./cgroup-limits.ts";
import { emulationOf } from "./emulation.ts";
import type { findNetworkHelper } from "./keeper/network-helper.ts";
import type { IdMaps } from "./keeper/userns.ts";
import { describeDisk, type NamespaceSettings } from "./probe-files.ts";
import type { MachineTried, tryRuntimes } from "./probe-try.ts";

/** ok: all of it. limited: builds work, with the consequence. missing: builds do not work. */
export type FindingState = "ok" | "limited" | "missing";

export interface Finding {
  /** Stable, for programs. */
  readonly id:
    | "node"
    | "kernel"
    | "store"
    | "namespaces"
    | "ids"
    | "overlay"
    | "sandbox"
    | "seccomp"
    | "network"
    | "limits"
    | "emulators"
    | "runtimes";
  readonly title: string;
  readonly state: FindingState;
  /** What is there, a few words. */
  readonly found: string;
  /** What a lack means for builds, one sentence; null when all is well. */
  readonly consequence: string | null;
  /** What to type or install; null: nothing, or nobody knows. */
  readonly fix: string | null;
}

/** mount_setattr(2), the youngest call without which nothing works. */
const KERNEL_MIN: readonly [number, number] = [5, 12];
/** overlayfs takes layers one by one ("lowerdir+"). */
const KERNEL_DEEP: readonly [number, number] = [6, 5];
/** package.json, engines. */
const NODE_MIN: readonly [number, number] = [20, 19];
const LOW_DISK_BYTES = 2 * 1000 ** 3;
/** Architectures in OCI's words: this machine's, the other one there is a launcher for, and those people build for. */
export const OWN: string = process.arch === "x64" ? "amd64" : process.arch;
export const OTHER: string = OWN === "amd64" ? "arm64" : "amd64";
const FOREIGN = ["amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x"].filter((name) => name !== OWN);

function finding(
  id: Finding["id"],
  title: string,
  found: string,
  lack: {
    readonly state: "limited" | "missing";
    readonly consequence: string;
    readonly fix: string | null;
  } | null,
): Finding {
  return lack === null
    ? { id, title, state: "ok", found, consequence: null, fix: null }
    : { id, title, found, ...lack };
}

/** Is a version such as "6.1.0-13-amd64" at least that? */
function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.replace(/^v/, "").split(/[.-]/).map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

export function nodeFinding(): Finding {
  const known = process.arch === "x64" || process.arch === "arm64";
  return finding(
    "node",
    "Node",
    `${process.version} on ${process.arch}`,
    !known
      ? { state: "missing", consequence: "RUN works on x64 and arm64 machines only.", fix: null }
      : atLeast(process.version, NODE_MIN)
        ? null
        : {
            state: "missing",
            consequence: "Builds need features that older versions of Node do not have.",
            fix: `install Node ${NODE_MIN.join(".")} or newer`,
          },
  );
}

export function kernelFinding(): Finding {
  const version = release();
  return finding(
    "kernel",
    "kernel",
    version,
    !atLeast(version, KERNEL_MIN)
      ? {
          state: "missing",
          consequence: "The sandbox needs system calls that this kernel does not have.",
          fix: `boot Linux ${KERNEL_MIN.join(".")} or newer`,
        }
      : atLeast(version, KERNEL_DEEP)
        ? null
        : {
            state: "limited",
            consequence: "Base images with more than about 200 layers cannot be used.",
            fix: `boot Linux ${KERNEL_DEEP.join(".")} or newer, which has no such limit`,
          },
  );
}

export function storeFinding(dir: string): Finding {
  const { type, freeBytes } = describeDisk(dir);
  const free =
    freeBytes < 1000 ** 3 ? `${Math.floor(freeBytes / 1e6)} MB` : `${(freeBytes / 1e9).toFixed(1)} GB`;
  return finding(
    "store",
    "store",
    `${dir}, ${free} free on ${type}`,
    freeBytes >= LOW_DISK_BYTES
      ? null
      : {
          state: "limited",
          consequence: "Disk space is low: builds may fail because the disk is full.",
          fix: "run tsbuild prune --all, or put the store on another disk: --root DIR",
        },
  );
}

export function namespaceFinding(tried: MachineTried, settings: NamespaceSettings, isRoot: boolean): Finding {
  const kept = tried.singleKeeper ?? tried.keeper;
  if (kept.worked)
    return finding("namespaces", "user namespaces", "created one, with mounts and processes", null);
  return finding("namespaces", "user namespaces", kept.why, {
    state: "missing",
    consequence: "Without them, RUN cannot start and layers cannot be unpacked.",
    fix: namespaceFix(settings, isRoot),
  });
}

function namespaceFix(settings: NamespaceSettings, isRoot: boolean): string {
  if (!settings.supported) return "use a kernel with CONFIG_USER_NS";
  if (settings.maxUserNamespaces === 0) return "sysctl -w user.max_user_namespaces=28633";
  if (!isRoot && settings.unprivilegedClone === 0) return "sysctl -w kernel.unprivileged_userns_clone=1";
  if (!isRoot && settings.apparmorRestricts === 1)
    return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
  if (settings.filtered)
    return "allow them in this container: docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined";
  return "sysctl -w user.max_user_namespaces=28633, and the same for user.max_mnt_namespaces and user.max_pid_namespaces";
}

export function idsFinding(tried: MachineTried, maps: IdMaps, settings: NamespaceSettings): Finding {
  const count = maps.uids.reduce((sum, range) => sum + range.count, 0);
  if (!tried.keeper.worked && tried.singleKeeper?.worked === true) {
    return finding("ids", "user and group ids", tried.keeper.why, {
      state: "missing",
      consequence: "Ids are configured in /etc/subuid and /etc/subgid but cannot be used.",
      fix: settings.noNewPrivileges
        ? "start tsbuild without no_new_privs (NoNewPrivileges=no in a unit; docker run without --security-opt no-new-privileges)"
        : "apt-get install --reinstall uidmap, to make newuidmap and newgidmap setuid root again",
    });
  }
  switch (maps.kind) {
    case "root":
      return idsTried(tried, `${count}, root's own`);
    case "subids":
      return idsTried(tried, `${count}, from /etc/subuid through newuidmap`);
    case "single": {
      const at = maps.why.indexOf(": ");
      return finding("ids", "user and group ids", at < 0 ? maps.why : maps.why.slice(0, at), {
        state: "limited",
        consequence:
          "Files in images keep their owners, but a RUN that switches user or changes owners fails (USER, apt-get, useradd, chown).",
        fix: at < 0 ? null : maps.why.slice(at + 2),
      });
    }
  }
}

function idsTried(tried: MachineTried, found: string): Finding {
  const other = tried.otherUser;
  return finding(
    "ids",
    "user and group ids",
    found,
    other === null || other.worked
      ? null
      : {
          state: "limited",
          consequence: `A step that runs as a user other than root failed: ${other.why}.`,
          fix: null,
        },
  );
}

/** overlayfs, the sandbox as a whole and its filter: one step tells of all three. */
export function stepFindings(tried: MachineTried): Finding[] {
  const { step, stepWithoutOverlay: bare, filter } = tried;
  if (step === null) return []; // no namespaces: that finding says it
  if (!step.worked && bare?.worked === true) {
    return [
      finding("overlay", "overlayfs", step.why, {
        state: "missing",
        consequence: "overlayfs cannot be mounted on this store's file system.",
        fix: overlayFix(),
      }),
    ];
  }
  if (!step.worked) {
    const proc = /\/proc/.test(step.why);
    return [
      finding("sandbox", "sandbox", step.why, {
        state: "missing",
        consequence: "RUN cannot start.",
        fix: proc
          ? "allow this container to mount /proc: docker run --security-opt systempaths=unconfined"
          : "in a container: docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
      }),
    ];
  }
  return [
    finding("overlay", "overlayfs", "mounted two layers and wrote to them", null),
    finding("sandbox", "sandbox", "ran a step", null),
    finding(
      "seccomp",
      "system-call filter",
      filter?.worked === true ? "active in the step" : "not active in the step",
      filter?.worked === true
        ? null
        : {
            state: "limited",
            consequence: "Steps can make every system call that their namespaces allow.",
            fix: "use a kernel with CONFIG_SECCOMP_FILTER",
          },
    ),
  ];
}

function overlayFix(): string {
  return "modprobe overlay; if that does not help, put the store on ext4, xfs or btrfs: --root DIR or TSBUILD_ROOT";
}

export function networkFinding(tried: MachineTried, helper: ReturnType<typeof findNetworkHelper>): Finding {
  const title = "step network";
  if (tried.network === null) return finding("network", title, `${helper.kind}, not tried`, null);
  if (tried.network.kind === "helper") return finding("network", title, `own, through ${helper.kind}`, null);
  const { kind, why } = tried.network;
  const at = helper.kind === "none" ? why.indexOf(": ") : -1;
  return finding("network", title, at < 0 ? why : why.slice(0, at), {
    state: "limited",
    consequence:
      kind === "forwarded"
        ? "tsbuild forwards the connections of RUN steps itself: TCP, DNS and most of UDP, but not ping."
        : "RUN steps use the host's network and can reach services on its loopback addresses.",
    fix:
      at >= 0
        ? why.slice(at + 2)
        : helper.kind === "slirp4netns"
          ? "apt-get install passt"
          : "apt-get install slirp4netns, or another version of passt",
  });
}

/** One limit for each controller, large enough to be harmless, and the flags that need it. */
const TRIED_LIMITS: readonly (readonly [string, Partial<ResourceLimits>, string])[] = [
  ["memory", { memoryBytes: 1 << 30 }, "--memory"],
  ["cpu", { cpuShares: 1024 }, "--cpu-quota, --cpu-shares"],
  ["cpuset", { cpusetCpus: "0" }, "--cpuset-cpus"],
  ["pids", { pids: 1024 }, "--pids-limit"],
];

/** Makes a cgroup for each kind of limit and removes it again. */
export async function limitsFinding(): Promise<Finding> {
  const kept: string[] = [];
  const lacking: string[] = [];
  const refused: string[] = [];
  let why: BuildError | null = null;
  for (const [name, limit, flags] of TRIED_LIMITS) {
    try {
      await using cgroups = openCgroups({ limits: { ...NO_LIMITS, ...limit }, warn: () => {} });
      await using step = cgroups.step("");
      if (step !== null) kept.push(name);
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      lacking.push(name);
      refused.push(flags);
      why ??= error;
    }
  }
  const words = why?.message.replace(/^\S+ cannot be applied: /, "") ?? "";
  return finding(
    "limits",
    "resource limits",
    why === null
      ? kept.join(", ")
      : kept.length > 0
        ? `${kept.join(", ")}; no ${lacking.join(", ")}: ${words}`
        : words,
    why === null
      ? null
      : {
          state: "limited",
          consequence: `Builds that use ${refused.join(", ")} fail; --ulimit always works.`,
          fix: why.hint,
        },
  );
}

export function emulatorsFinding(tried: MachineTried): Finding {
  const works = tried.emulator?.worked === true;
  const kinds = FOREIGN.map((name) => ({ name, kind: emulationOf(name, OWN).kind }));
  const usable = kinds
    .filter(({ name, kind }) => (name === OTHER ? works : kind === "emulated"))
    .map(({ name }) => name);
  if (usable.length > 0) return finding("emulators", "emulators", usable.join(", "), null);
  const has = (wanted: string): boolean => kinds.some(({ kind }) => kind === wanted);
  const found = has("unfixed")
    ? "registered without the flag F, so steps cannot use them"
    : has("emulated") && tried.emulator?.worked === false
      ? tried.emulator.why
      : has("unseen")
        ? `none: ${OTHER} programs do not start`
        : "none registered";
  return finding("emulators", "emulators", found, {
    state: "limited",
    consequence: "RUN for other platforms than this machine's fails.",
    fix: "apt-get install qemu-user-static binfmt-support (as root; on the host, if this is a container)",
  });
}

/** Those `--oci-runtime` may name. Never needed: a runtime that cannot run steps here takes nothing from other builds. */
export function runtimesFinding(runtimes: Awaited<ReturnType<typeof tryRuntimes>>): Finding {
  const broken = runtimes.flatMap(({ name, tried }) => (tried.worked ? [] : [{ name, why: tried.why }]));
  const working = runtimes.filter(({ tried }) => tried.worked).map(({ name }) => name);
  const [first] = broken;
  const found =
    runtimes.length === 0
      ? "none, not required: steps run in tsbuild's own sandbox"
      : [...working, ...broken.map(({ name, why }) => `${name}: ${why}`)].join(", ");
  return finding(
    "runtimes",
    "OCI runtimes",
    found,
    first === undefined
      ? null
      : {
          state: "limited",
          consequence: `Builds with --oci-runtime=${first.name} fail; builds without it use tsbuild's own sandbox.`,
          fix: working[0] === undefined ? null : `--oci-runtime=${working[0]}`,
        },
  );
}
