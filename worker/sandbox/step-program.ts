// The system calls of one step, in order, as a program for the launcher: namespaces, root, mounts, limits, privileges, execve.
//
// No host path is reachable when the first path of the image is resolved: sources of mounts are descriptors of detached
// mounts, /proc and /sys are created (not attached) while the old root still exists, then pivot_root. From then on every path
// is resolved by the kernel inside the new root, so a link in the image cannot lead outside (threat model P1, P7, P8).

import { loopbackUp } from "../launcher/network.ts";
import { openProgram, type Arg, type Label, type Program } from "../launcher/program.ts";
import type { LauncherArch } from "../launcher/elf.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { type ProcessBound, writePidMax } from "./process-bound.ts";
import {
  installFilter,
  installTellingFilter,
  prepareToTell,
  NOTIFICATION_BYTES,
  tellUntilEnd,
  unblockEndSignal,
} from "./notify-program.ts";
import type { StepFilter } from "./seccomp-notify.ts";
import { capsetArguments, DEFAULT_CAPABILITIES, LAST_CAPABILITY } from "./capabilities.ts";
import {
  AT,
  CLONE,
  FSCONFIG,
  MOUNT_ATTR,
  MOVE_MOUNT,
  MS,
  O,
  OPEN_TREE,
  PR,
  RESOLVE,
  S,
  SIG,
  UMOUNT,
} from "../sys/constants.ts";

/** Where mounts that are only cloned are placed for that time. */
const ASIDE = { files: ".files", masks: ".masks" } as const;

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

/** A mount to be made of a file system of its own. */
export interface NewMount {
  /** Of the file system: "tmpfs". */
  readonly type: string;
  readonly options?: readonly (readonly [key: string, value: string])[];
  readonly attributeBits: number;
  /** For messages: "mounting …". */
  readonly what: string;
  /** Where to go on when it cannot be made; left out: the program ends. */
  readonly onError?: Label;
  /** Keys of options that need not be taken. */
  readonly ignored?: readonly string[];
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

/** Lays out the whole step. */
export function stepProgram(plan: StepPlan): ReturnType<Program["assemble"]> {
  const program = openProgram(plan.arch, STEP_FD.status);
  const child = program.label();
  const namespaces =
    CLONE.NEWNS |
    CLONE.NEWPID |
    CLONE.NEWIPC |
    CLONE.NEWUTS |
    (plan.network.kind === "none" ? CLONE.NEWNET : 0);

  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  if (plan.network.kind === "join")
    program.call("setns", [plan.network.fd, CLONE.NEWNET], { what: "joining the step's network" });
  program.call("unshare", [namespaces], { what: "creating the step's namespaces" });
  if (plan.notify !== null) prepareToTell(program);
  parentSide(program, child, plan);

  program.here(child);
  childSide(program, plan);
  // After it: the top of a cgroup namespace is where its maker was (cgroup_namespaces(7)).
  program.call("unshare", [CLONE.NEWCGROUP], { what: "creating the step's cgroup namespace" });
  program.call("setsid", []);
  program.call("umask", [0o022]);
  program.call("mount", ["none", "/", 0, MS.REC | MS.PRIVATE, 0], { what: "making mounts private" });
  if (plan.network.kind === "none") loopbackUp(program);

  const fds = openKernelMounts(program, plan);
  enterRoot(program, plan);
  placeKernelMounts(program, plan, fds);
  newMount(program, STEP_FD.files, {
    type: "tmpfs",
    options: [["mode", "0700"]],
    attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV,
    what: "files of the step",
  });
  placeAside(program, STEP_FD.files, ASIDE.files);
  placeData(program, 0, plan.resolvConf.text, plan.resolvConf.path);
  placeData(program, 1, plan.hosts.text, plan.hosts.path);
  plan.mounts.forEach((mount, index) => placeMount(program, mount, index + 2));
  writePidMax(program, STEP_FD.pidMax, plan.processes);
  if (!plan.insecure) protectKernelFiles(program, plan);
  takeAway(program, STEP_FD.files, ASIDE.files);
  finishRoot(program, plan);
  dropPrivileges(program, plan);
  execute(program, plan);
  return program.assemble();
}

/** Lays out a process in the namespaces of another, which has set up all of them. No host path is in sight from then on: setns(2) with a mount
 *  namespace goes to its root. */
export function joinProgram(plan: JoinPlan): ReturnType<Program["assemble"]> {
  const program = openProgram(plan.arch, STEP_FD.status);
  const child = program.label();
  const namespaces =
    CLONE.NEWNS |
    CLONE.NEWPID |
    CLONE.NEWIPC |
    CLONE.NEWUTS |
    CLONE.NEWCGROUP |
    (plan.hostNetwork ? 0 : CLONE.NEWNET);
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  if (plan.notify !== null) prepareToTell(program);
  program.call("setns", [plan.namespacesFd, namespaces], {
    what: "joining the first process of the container",
  });
  parentSide(program, child, plan);

  program.here(child);
  childSide(program, plan);
  program.call("setsid", []);
  program.call("umask", [0o022]);
  limitAndPlace(program, plan);
  dropPrivileges(program, plan);
  execute(program, plan);
  return program.assemble();
}

/** The launcher itself stays outside, tells pid and end, and takes the child with it when it is killed. */
function parentSide(program: Program, child: Label, plan: Pick<StepPlan, "notify">): void {
  const pid = words(STEP_STATUS.pid, 0n);
  const exit = new Uint8Array(16 + RUSAGE_BYTES);
  new DataView(exit.buffer).setBigUint64(0, STEP_STATUS.exit, true);
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], {
    onZero: child,
    storeAt: { of: pid, offset: 8 },
    what: "starting the step",
  });
  program.call("write", [STEP_FD.status, pid, 16], { onError: "ignore" });
  // Descriptors of mounts must not keep them alive behind the step; status and the sign of life stay.
  if (plan.notify !== null) tellUntilEnd(program, plan.notify.outsideFd, STEP_STATUS.told);
  program.call("close", [STEP_FD.aliveRead], { onError: "ignore" });
  program.call("close_range", [STEP_FD.first, SYS.LAST_FD, 0], { onError: "ignore" });
  program.call("close", [STEP_FD.stdout], { onError: "ignore" });
  program.call("close", [STEP_FD.stderr], { onError: "ignore" });
  const wait = program.label();
  program.here(wait);
  program.call("wait4", [-1, { of: exit, offset: 8 }, SYS.WALL, { of: exit, offset: 16 }], { onError: wait });
  program.call("write", [STEP_FD.status, exit, exit.length], { onError: "ignore" });
  program.call("exit_group", [0]);
}

/** The step dies with the launcher outside. A launcher that died before the prctl is noticed by the pipe: reading gives
 *  EAGAIN as long as it holds the other end, and 0 when nobody does. */
function childSide(program: Program, plan: Pick<StepPlan, "notify" | "cgroupFd" | "processors">): void {
  program.call("close", [STEP_FD.aliveWrite], { onError: "ignore" });
  dieWithLauncher(program);
  if (plan.notify !== null) unblockEndSignal(program);
  if (plan.cgroupFd !== null)
    program.call("write", [plan.cgroupFd, "0", 1], { what: "entering the step's cgroup" });
  // What a cpuset does not have is left out by the kernel, and a mask with nothing left refused: then it has all.
  if (plan.processors !== null)
    program.call("sched_setaffinity", [0, plan.processors.length, plan.processors], { onError: "ignore" });
}

function dieWithLauncher(program: Program): void {
  const orphaned = program.label();
  const alive = program.label();
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.call("read", [STEP_FD.aliveRead, new Uint8Array(8), 1], {
    onZero: orphaned,
    onError: alive,
    next: alive,
  });
  program.here(orphaned);
  program.call("exit_group", [125]);
  program.here(alive);
}

interface KernelMounts {
  readonly proc: number;
  readonly sys: number;
  readonly devices: readonly { readonly name: string; readonly fd: number }[];
}

/** Makes /proc, /sys and the device nodes as detached mounts while the host's are still visible: the kernel allows new
 *  proc and sysfs mounts only to who can see a whole one (mount_too_revealing in fs/namespace.c). */
function openKernelMounts(program: Program, plan: StepPlan): KernelMounts {
  const { proc, sys } = STEP_FD;
  const closed = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  newMount(program, proc, { type: "proc", attributeBits: closed, what: "/proc" });
  if (plan.network.kind === "host") {
    // A sysfs of its own needs a network namespace of its own: the host's is shown read-only.
    program.open(sys, "open_tree", [AT.FDCWD, "/sys", OPEN_TREE.CLONE | AT.RECURSIVE], {
      what: "/sys",
    });
  } else {
    newMount(program, sys, { type: "sysfs", attributeBits: closed, what: "/sys" });
  }
  if (!plan.insecure || plan.network.kind === "host") {
    setAttributes(program, sys, MOUNT_ATTR.RDONLY | closed, plan.network.kind === "host");
  }
  const devices = DEVICES.map((name, index) => {
    const fd = STEP_FD.devices + index;
    const absent = program.label();
    program.open(fd, "open_tree", [AT.FDCWD, `/dev/${name}`, OPEN_TREE.CLONE], {
      what: `/dev/${name}`,
      ...(name === "null" ? {} : { onError: absent }),
    });
    // Reading and writing a device needs no writable mount, changing its mode or owner does: root's node is the host's.
    setAttributes(program, fd, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC, false);
    program.here(absent);
    return { name, fd };
  });
  return { proc, sys, devices };
}

function enterRoot(program: Program, plan: StepPlan): void {
  program.call("move_mount", [plan.rootFd, "", AT.FDCWD, plan.scratchDir, MOVE_MOUNT.F_EMPTY_PATH], {
    what: "attaching the root file system",
  });
  program.call("fchdir", [plan.rootFd], { what: "entering the root file system" });
  program.call("pivot_root", [".", "."], { what: "switching to the root file system" });
  program.call("umount2", [".", UMOUNT.DETACH], { what: "detaching the host's file system" });
  program.call("chdir", ["/"]);
}

function placeKernelMounts(program: Program, plan: StepPlan, fds: KernelMounts): void {
  program.call("mkdirat", [AT.FDCWD, "/proc", 0o755], { onError: "ignore" });
  program.call("mkdirat", [AT.FDCWD, "/sys", 0o755], { onError: "ignore" });
  program.call("mkdirat", [AT.FDCWD, "/dev", 0o755], { onError: "ignore" });
  // Without T_SYMLINKS: an image whose /proc is a link is refused, not followed.
  program.call("move_mount", [fds.proc, "", AT.FDCWD, "/proc", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /proc (is it a directory of the image?)",
  });
  program.call("move_mount", [fds.sys, "", AT.FDCWD, "/sys", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /sys (is it a directory of the image?)",
  });
  placeCgroup(program);
  const { dev, pts, shm, mqueue } = STEP_FD;
  newMount(program, dev, {
    type: "tmpfs",
    options: [
      ["mode", "0755"],
      ["size", "65536k"],
    ],
    attributeBits: MOUNT_ATTR.NOSUID,
    what: "/dev",
  });
  for (const device of fds.devices) {
    program.call("mknodat", [dev, device.name, S.IFREG | 0o666, 0]);
  }
  for (const dir of ["pts", "shm", "mqueue"]) program.call("mkdirat", [dev, dir, 0o755]);
  for (const [name, target] of [
    ["fd", "/proc/self/fd"],
    ["stdin", "/proc/self/fd/0"],
    ["stdout", "/proc/self/fd/1"],
    ["stderr", "/proc/self/fd/2"],
    ["ptmx", "pts/ptmx"],
    ["core", "/proc/kcore"],
  ] as const) {
    program.call("symlinkat", [target, dev, name]);
  }
  if (plan.consoleFd !== null) program.call("mknodat", [dev, "console", S.IFREG | 0o620, 0]);
  program.call("move_mount", [dev, "", AT.FDCWD, "/dev", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /dev (is it a directory of the image?)",
  });
  for (const device of fds.devices) {
    const absent = program.label();
    const placed = program.label();
    program.call("move_mount", [device.fd, "", AT.FDCWD, `/dev/${device.name}`, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `/dev/${device.name}`,
      next: placed,
      onError: absent,
    });
    program.here(absent); // the host has no such device: an ordinary file in its place would mislead
    program.call("unlinkat", [AT.FDCWD, `/dev/${device.name}`, 0], { onError: "ignore" });
    program.here(placed);
  }
  newMount(program, pts, {
    type: "devpts",
    options: [
      ["ptmxmode", "0666"],
      ["mode", "0620"],
      // Group 5 may have no number outside. Some kernels say so here, older ones fail the mount.
      ...(plan.singleId ? [] : [["gid", "5"] as const]),
    ],
    attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC,
    what: "/dev/pts",
    ignored: ["gid"],
  });
  program.call("move_mount", [pts, "", AT.FDCWD, "/dev/pts", MOVE_MOUNT.F_EMPTY_PATH]);
  const closed = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  newMount(program, shm, {
    type: "tmpfs",
    options: [
      ["mode", "1777"],
      ["size", "65536k"],
    ],
    attributeBits: closed,
    what: "/dev/shm",
  });
  program.call("move_mount", [shm, "", AT.FDCWD, "/dev/shm", MOVE_MOUNT.F_EMPTY_PATH]);
  const noQueues = program.label(); // a kernel may be built without
  newMount(program, mqueue, {
    type: "mqueue",
    attributeBits: closed,
    what: "/dev/mqueue",
    onError: noQueues,
  });
  program.call("move_mount", [mqueue, "", AT.FDCWD, "/dev/mqueue", MOVE_MOUNT.F_EMPTY_PATH]);
  program.here(noQueues);
  if (plan.consoleFd !== null) {
    program.call("move_mount", [plan.consoleFd, "", AT.FDCWD, "/dev/console", MOVE_MOUNT.F_EMPTY_PATH], {
      what: "/dev/console",
    });
  }
}

/** /sys/fs/cgroup of the step's own cgroup namespace, read-only; empty where that cannot be mounted. */
function placeCgroup(program: Program): void {
  const fd = STEP_FD.cgroup;
  const path = "/sys/fs/cgroup";
  const attributeBits = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  const refused = program.label();
  const made = program.label();
  const absent = program.label();
  newMount(program, fd, { type: "cgroup2", attributeBits, what: path, onError: refused });
  program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
    next: made,
    onError: absent,
  });
  program.here(refused);
  newMount(program, fd, { type: "tmpfs", options: [["mode", "0755"]], attributeBits, what: path });
  program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], { onError: absent });
  program.here(absent);
  program.here(made);
}

/** A file on the step's private tmpfs, bound read-only to its place. */
function placeData(program: Program, index: number, text: string, target: string): void {
  placeMount(
    program,
    {
      target,
      readonly: true,
      source: { kind: "data", data: new TextEncoder().encode(text), uid: 0, gid: 0, mode: 0o644 },
    },
    index,
  );
}

/** `index`: another for each mount of the step; names its file, if it has one. */
function placeMount(program: Program, mount: StepMount, index: number): void {
  const { source, target } = mount;
  const { files, file, mount: fd, target: at } = STEP_FD;
  const isFile = source.kind === "data" || (source.kind === "fd" && source.isFile);
  makeTarget(program, target, isFile);
  const place = (from: number): void => {
    // Found and used as one descriptor; links of the image are followed inside the root, those of /proc are not (P1, P2).
    const how = words(BigInt(O.PATH), 0n, BigInt(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS));
    program.open(at, "openat2", [AT.FDCWD, target, how, how.length], {
      what: `opening the mount target ${target}`,
    });
    program.call("move_mount", [from, "", at, "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH], {
      what: `mounting ${target}`,
    });
  };
  switch (source.kind) {
    case "fd":
      if (mount.readonly) setAttributes(program, source.fd, MOUNT_ATTR.RDONLY, true);
      place(source.fd);
      return;
    case "tmpfs":
      newMount(program, fd, {
        type: "tmpfs",
        options: [
          ["mode", "1777"],
          ...(source.sizeBytes === null ? [] : [["size", String(source.sizeBytes)] as const]),
        ],
        attributeBits: MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | (mount.readonly ? MOUNT_ATTR.RDONLY : 0),
        what: target,
      });
      place(fd);
      return;
    case "data": {
      const name = `f${index}`;
      program.open(file, "openat", [files, name, O.RDWR | O.CREAT | O.EXCL, 0o600], {
        what: target,
      });
      if (source.data.length > 0)
        program.call("write", [file, source.data, source.data.length], { what: target });
      if (source.uid !== 0 || source.gid !== 0) {
        program.call("fchown", [file, source.uid, source.gid], {
          what: `owner ${source.uid}:${source.gid} of ${target}`,
        });
      }
      program.call("fchmod", [file, source.mode]);
      program.call("close", [file]);
      program.open(fd, "open_tree", [files, name, OPEN_TREE.CLONE], { what: target });
      if (mount.readonly)
        setAttributes(
          program,
          fd,
          MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC,
          false,
        );
      place(fd);
      return;
    }
  }
}

/** Directories down to the target and the target itself, where they are missing. */
function makeTarget(program: Program, target: string, isFile: boolean): void {
  const parts = target.split("/").filter((part) => part !== "");
  let path = "";
  parts.forEach((part, index) => {
    path += `/${part}`;
    if (isFile && index === parts.length - 1)
      program.call("mknodat", [AT.FDCWD, path, S.IFREG | 0o644, 0], { onError: "ignore" });
    else program.call("mkdirat", [AT.FDCWD, path, 0o755], { onError: "ignore" });
  });
}

function protectKernelFiles(program: Program, plan: StepPlan): void {
  const { mask: fd, empty } = STEP_FD;
  for (const path of READONLY_PATHS) {
    const absent = program.label();
    program.open(fd, "open_tree", [AT.FDCWD, path, OPEN_TREE.CLONE | AT.RECURSIVE], {
      onError: absent,
    });
    setAttributes(program, fd, MOUNT_ATTR.RDONLY, true);
    program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `protecting ${path}`,
    });
    program.here(absent);
  }
  newMount(program, empty, {
    type: "tmpfs",
    options: [
      ["mode", "0555"],
      ["size", "0"],
      ["nr_inodes", "1"],
    ],
    attributeBits: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC,
    what: "masks",
  });
  placeAside(program, empty, ASIDE.masks);
  const mask = (path: string, fromFd: number, fromPath: string, flags: number): void => {
    const absent = program.label();
    program.call("faccessat", [AT.FDCWD, path, 0], { onError: absent });
    program.open(fd, "open_tree", [fromFd, fromPath, OPEN_TREE.CLONE | flags]);
    program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `masking ${path}`,
    });
    program.here(absent);
  };
  for (const path of MASKED_FILES) mask(path, AT.FDCWD, "/dev/null", 0);
  const dirs = [
    ...MASKED_DIRS,
    ...plan.maskedDirs,
    ...(plan.network.kind === "host" ? MASKED_HOST_DIRS : []),
  ];
  for (const path of dirs) mask(path, empty, "", AT.EMPTY_PATH);
  takeAway(program, empty, ASIDE.masks);
}

/** Gives a mount a place in the step's own /dev. Before Linux 6.15 only what has a place can be cloned (open_tree(2)). */
function placeAside(program: Program, fd: number, name: string): void {
  program.call("mkdirat", [STEP_FD.dev, name, 0o700]);
  program.call("move_mount", [fd, "", STEP_FD.dev, name, MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting files of the step",
  });
}

/** Ends what placeAside did; clones stay. By descriptor, since a mount of the step may cover the place. */
function takeAway(program: Program, fd: number, name: string): void {
  program.call("fchdir", [fd]);
  program.call("umount2", [".", UMOUNT.DETACH], { what: "hiding files of the step" });
  program.call("chdir", ["/"]);
  program.call("unlinkat", [STEP_FD.dev, name, AT.REMOVEDIR]);
}

function finishRoot(program: Program, plan: StepPlan): void {
  const hostname = new TextEncoder().encode(plan.hostname);
  program.call("sethostname", [hostname, hostname.length], { what: "setting the host name" });
  limitAndPlace(program, plan);
  if (plan.rootReadonly) {
    program.call("mount_setattr", [AT.FDCWD, "/", 0, attributes(MOUNT_ATTR.RDONLY), 32], {
      what: "making the root read-only",
    });
  }
}

/** Its limits, and its working directory where that is missing. */
function limitAndPlace(program: Program, plan: Pick<StepPlan, "cwd" | "rlimits">): void {
  if (plan.cwd !== "/") makeTarget(program, plan.cwd, false);
  for (const limit of plan.rlimits) {
    program.call("prlimit64", [0, limit.resource, words(limit.soft, limit.hard), 0], {
      what: `setting the ${limit.name} limit`,
    });
  }
}

function dropPrivileges(program: Program, plan: Omit<JoinPlan, "namespacesFd" | "hostNetwork">): void {
  // Standard streams belong to whoever runs, so that /dev/stdout can be opened by any user.
  if (plan.stdinFd === null) {
    program.call("openat", [AT.FDCWD, "/dev/null", 0, 0], { intoNextArg: 0 });
    program.call("dup3", [0, 0, 0]);
  } else {
    program.call("dup3", [plan.stdinFd, 0, 0]);
  }
  if (plan.ttyFd !== null) {
    for (const fd of [0, 1, 2]) program.call("dup3", [plan.ttyFd, fd, 0]);
    program.call("ioctl", [0, SYS.TIOCSCTTY, 0], { what: "acquiring the terminal" });
    program.call("fchown", [0, plan.uid, plan.gid], { onError: "ignore" });
  } else if (plan.uid !== 0) {
    for (const fd of [1, 2]) program.call("fchown", [fd, plan.uid, plan.gid], { onError: "ignore" });
  }
  // From here on nothing but the standard streams, the status and a pipe is open: no mount can be reached through /proc/self/fd.
  const kept = plan.notify === null ? 0 : 1;
  if (plan.notify !== null) program.call("dup3", [plan.notify.stepFd, STEP_FD.aliveWrite, 0]);
  program.call("close_range", [STEP_FD.aliveWrite + kept, SYS.LAST_FD, 0], { what: "closing descriptors" });
  // As root, who may enter any directory; the user may not be allowed to (runc does the same).
  const entered = program.label();
  const refused = program.label();
  program.call("chdir", [plan.cwd], { next: entered, onError: refused });
  program.here(refused); // a file system of the user's own may let only the user in
  program.call("setresuid", [-1, plan.uid, -1], { onError: "ignore" });
  program.call("chdir", [plan.cwd], { what: `entering the working directory ${plan.cwd}` });
  program.call("setresuid", [-1, 0, -1]);
  program.here(entered);
  // Installed while CAP_SYS_ADMIN is there, since no_new_privs stays off (threat model E3).
  if (plan.seccomp !== null) {
    if (plan.notify === null) installFilter(program, plan.seccomp);
    else installTellingFilter(program, plan.seccomp, STEP_FD.aliveWrite);
  }
  if (!plan.insecure) {
    for (let capability = 0; capability <= LAST_CAPABILITY; capability++) {
      if (DEFAULT_CAPABILITIES.includes(capability)) continue;
      // EINVAL: a capability this kernel does not know.
      program.call("prctl", [PR.CAPBSET_DROP, capability, 0, 0, 0], { onError: "ignore" });
    }
  }
  const groups = new Uint8Array(plan.groups.length * 4);
  plan.groups.forEach((group, index) => new DataView(groups.buffer).setUint32(index * 4, group, true));
  if (!plan.singleId) program.call("setgroups", [plan.groups.length, groups], { what: "setting the groups" });
  program.call("setresgid", [plan.gid, plan.gid, plan.gid], { what: `becoming group ${plan.gid}` });
  program.call("setresuid", [plan.uid, plan.uid, plan.uid], { what: `becoming user ${plan.uid}` });
  dieWithLauncher(program); // new credentials clear it (prctl(2))
  if (plan.uid === 0 && !plan.insecure) {
    const caps = capsetArguments(DEFAULT_CAPABILITIES);
    program.call("capset", [caps.header, caps.data], { what: "dropping capabilities" });
  }
}

/** The last calls of a step: becomes the command, or says on STEP_FD.status why not. */
export function execute(
  program: Program,
  plan: Pick<StepPlan, "args" | "env"> & Partial<Pick<StepPlan, "tellsStart">>,
): void {
  program.call("close_range", [STEP_FD.status, SYS.LAST_FD, SYS.CLOSE_RANGE_CLOEXEC], {
    what: "closing descriptors",
  });
  if (plan.tellsStart === true)
    program.call("write", [STEP_FD.status, words(STEP_STATUS.started, 0n), 16], { onError: "ignore" });
  const name = plan.args[0] ?? "";
  const argv: Arg = { pointers: plan.args };
  const envp: Arg = { pointers: plan.env };
  const told = program.label();
  const tell = (kind: bigint): void => {
    // (kind, -errno of the call that failed last) in one piece, since the launcher outside writes to the same socket.
    const message = words(kind);
    program.call("writev", [STEP_FD.status, { words: [message, 8n, { header: 16 }, 8n] }, 2], {
      onError: "ignore",
      next: told,
    });
  };
  if (name.includes("/")) {
    const failed = program.label();
    program.call("execve", [name, argv, envp], { onError: failed });
    program.here(failed);
    tell(STEP_STATUS.execFailed);
  } else {
    // The first file in PATH that may be executed is it, whatever execve says to it then.
    for (const dir of searchPath(plan.env)) {
      const candidate = `${dir}/${name}`;
      const next = program.label();
      const run = program.label();
      const failed = program.label();
      program.call("faccessat", [AT.FDCWD, candidate, SYS.X_OK], { onError: next });
      program.call("faccessat", [AT.FDCWD, `${candidate}/.`, 0], { onError: run, onZero: next }); // a directory
      program.here(run);
      program.call("execve", [candidate, argv, envp], { onError: failed });
      program.here(failed);
      tell(STEP_STATUS.execFailed);
      program.here(next);
    }
    tell(STEP_STATUS.notFound);
  }
  program.here(told);
  program.call("exit_group", [127]);
}

function searchPath(env: readonly string[]): string[] {
  const entry = env.findLast((variable) => variable.startsWith("PATH="));
  return (entry ?? "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    .slice(5)
    .split(":")
    .filter((dir) => dir.startsWith("/"));
}

/** fsopen, options, fsmount: a detached mount at descriptor `fd`. */
export function newMount(
  program: Program,
  fd: number,
  { type, options = [], attributeBits, what, ignored = [], ...failing }: NewMount,
): void {
  const context = STEP_FD.fsContext;
  program.open(context, "fsopen", [type, 1], { what: `mounting ${what}`, ...failing });
  for (const [key, value] of options) {
    program.call("fsconfig", [context, FSCONFIG.SET_STRING, key, value, 0], {
      what: `mounting ${what} (${key}=${value})`,
      ...(ignored.includes(key) ? { onError: "ignore" } : failing),
    });
  }
  program.call("fsconfig", [context, FSCONFIG.CMD_CREATE, 0, 0, 0], { what: `mounting ${what}`, ...failing });
  program.open(fd, "fsmount", [context, 1, attributeBits], { what: `mounting ${what}`, ...failing });
}

/** Adds attributes to a detached mount. */
export function setAttributes(program: Program, fd: number, set: number, recursive: boolean): void {
  program.call(
    "mount_setattr",
    [fd, "", AT.EMPTY_PATH | (recursive ? AT.RECURSIVE : 0), attributes(set), 32],
    {
      what: "changing mount attributes",
    },
  );
}

/** struct mount_attr, mount_setattr(2). */
function attributes(set: number): Uint8Array {
  return words(BigInt(set), 0n, 0n, 0n);
}

/** Numbers as 8 bytes each. */
export function words(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setBigUint64(index * 8, value, true));
  return bytes;
}
