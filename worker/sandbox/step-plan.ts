// What a step or a process beside it is made of, as the programs of step-program.ts lay it out, and what they say on the way.

import type { LauncherArch } from "../launcher/elf.ts";
import { NOTIFICATION_BYTES } from "./notify-program.ts";
import type { ProcessBound } from "./process-bound.ts";
import type { StepFilter } from "./seccomp-notify.ts";

export interface StepMount {
  readonly target: string;
  readonly source:
    | { readonly kind: "fd"; readonly fd: number; readonly isFile: boolean } // a detached mount
    | { readonly kind: "tmpfs"; readonly sizeBytes: number | null }
    | {
        readonly kind: "data";
        readonly data: Uint8Array;
        readonly uid: number;
        readonly gid: number;
        readonly mode: number;
      };
  readonly readonly: boolean;
}

export interface StepPlan {
  readonly arch: LauncherArch;
  readonly scratchDir: string; // an empty directory of the host where the root is placed for a moment
  readonly rootFd: number; // detached mount of the root file system
  readonly rootReadonly: boolean;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly hostname: string;
  readonly hosts: { readonly path: string; readonly text: string };
  readonly resolvConf: { readonly path: string; readonly text: string };
  readonly network: { readonly kind: "none" | "host" } | { readonly kind: "join"; readonly fd: number };
  readonly mounts: readonly StepMount[];
  /** Kernel directories of this machine to be hidden besides the usual ones. */
  readonly maskedDirs: readonly string[];
  readonly rlimits: readonly {
    readonly name: string;
    readonly resource: number;
    readonly soft: bigint;
    readonly hard: bigint;
  }[];
  readonly processes: ProcessBound;
  readonly insecure: boolean;
  readonly seccomp: StepFilter | null;
  /** For a filter that tells: the step's end of a pair of sockets, and the other (notify.ts). */
  readonly notify: { readonly stepFd: number; readonly outsideFd: number } | null;
  readonly stdinFd: number | null;
  readonly ttyFd: number | null;
  readonly consoleFd: number | null; // the terminal as a detached mount
  readonly singleId: boolean; // setgroups is refused
  /** cgroup.procs of the step's cgroup, open for writing; null: it stays in the builder's. */
  readonly cgroupFd: number | null;
  /** Says on STEP_FD.status when it becomes the command. */
  readonly tellsStart: boolean;
  /** Processors it may use, as a mask; null: all. */
  readonly processors: Uint8Array | null;
}

/** A process that joins another's namespaces instead of making its own. */
export interface JoinPlan
  extends Pick<
    StepPlan,
    | (
        | "arch"
        | "args"
        | "env"
        | "cwd"
        | "uid"
        | "gid"
        | "groups"
        | "rlimits"
        | "insecure"
        | "seccomp"
        | "notify"
      )
    | ("stdinFd" | "ttyFd" | "singleId" | "cgroupFd" | "tellsStart" | "processors")
  > {
  /** A pidfd of the other. */
  readonly namespacesFd: number;
  /** The other is in the host's network, as the keeper is. */
  readonly hostNetwork: boolean;
}

/** Messages on STEP_FD.status, 16 bytes each: (kind, value); exit is followed by RUSAGE_BYTES, told by NOTIFICATION_BYTES. */
export const STEP_STATUS = {
  pid: 1n,
  exit: 2n,
  execFailed: 4n,
  notFound: 5n,
  started: 6n,
  told: 9n,
} as const;
export const RUSAGE_BYTES = 144;
/** How long the message is that begins like this. */
export function statusLength(kind: bigint): number {
  return 16 + (kind === STEP_STATUS.exit ? RUSAGE_BYTES : kind === STEP_STATUS.told ? NOTIFICATION_BYTES : 0);
}

/** Constants of the kernel that only programs of steps use. */
export const SYS = {
  X_OK: 1,
  TIOCSCTTY: 0x540e,
  CLOSE_RANGE_CLOEXEC: 4,
  LAST_FD: 0xffff_ffff,
  WALL: 0x4000_0000, // __WALL
} as const;

export const DEVICES: readonly string[] = ["null", "zero", "full", "random", "urandom", "tty"];
/** Kernel control files a step must not see or change (threat model E4): those Docker, containerd and runc mask. */
export const MASKED_FILES: readonly string[] = [
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/interrupts",
];
export const MASKED_DIRS: readonly string[] = [
  "/proc/acpi",
  "/proc/scsi",
  "/proc/asound",
  "/sys/firmware",
  "/sys/devices/virtual/powercap",
];
/** File systems of the host below its /sys, which a step on the host's network is shown as a whole. */
export const MASKED_HOST_DIRS: readonly string[] = [
  "/sys/kernel/debug",
  "/sys/kernel/tracing",
  "/sys/kernel/security",
  "/sys/kernel/config",
  "/sys/fs/bpf",
  "/sys/fs/pstore",
  "/sys/fs/fuse/connections",
];
export const READONLY_PATHS: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
  "/proc/mtrr",
  "/proc/dynamic_debug",
];

/** Paths where a step's own mounts go besides the asked ones; the caller clears stubs away that were not there before. */
export const STEP_MOUNT_POINTS: readonly { readonly path: string; readonly isFile: boolean }[] = [
  { path: "/proc", isFile: false },
  { path: "/sys", isFile: false },
  { path: "/dev", isFile: false },
  { path: "/etc/resolv.conf", isFile: true },
  { path: "/etc/hosts", isFile: true },
];
