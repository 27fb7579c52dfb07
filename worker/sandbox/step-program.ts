// The system calls of one step, in order, as a program for the launcher: namespaces, root, mounts, limits, privileges, execve.
//
// All host paths are gone before the first path of the image is looked at: sources of mounts come as descriptors of detached
// mounts, /proc and /sys are made (not placed) while the old root is still there, then pivot_root. From then on every path
// is resolved by the kernel inside the new root, so a link in the image can lead nowhere else (threat model P1, P7, P8).

import { openProgram, type Arg, type Label, type Program } from "../launcher/program.ts";
import type { LauncherArch } from "../launcher/elf.ts";
import { capsetArguments, DEFAULT_CAPABILITIES, LAST_CAPABILITY } from "./capabilities.ts";

/** Descriptors of a step's launcher. Mount descriptors follow from `first` on. */
export const STEP_FD = { program: 0, stdout: 1, stderr: 2, status: 3, first: 4 } as const;
/** Numbers the program moves its own descriptors to; above all that is handed in. */
const OWN_FD = 400;

export interface StepMount {
  readonly target: string;
  readonly source:
    | { readonly kind: "fd"; readonly fd: number; readonly isFile: boolean } // a detached mount
    | { readonly kind: "tmpfs"; readonly sizeBytes: number | null }
    | { readonly kind: "data"; readonly data: Uint8Array; readonly uid: number; readonly gid: number; readonly mode: number };
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
  readonly hosts: string;
  readonly resolvConf: string;
  readonly network: { readonly kind: "none" | "host" } | { readonly kind: "join"; readonly fd: number };
  readonly mounts: readonly StepMount[];
  readonly rlimits: readonly { readonly resource: number; readonly soft: bigint; readonly hard: bigint }[];
  readonly insecure: boolean;
  readonly seccomp: Uint8Array | null; // BPF instructions
  readonly stdinFd: number | null;
  readonly ttyFd: number | null;
  readonly singleId: boolean; // setgroups is refused
}

/** Messages on STEP_FD.status, 16 bytes each: (kind, value); exit is followed by RUSAGE_BYTES. */
export const STEP_STATUS = { pid: 1n, exit: 2n, execFailed: 4n } as const;
export const RUSAGE_BYTES = 144;

const SYS = {
  AT_FDCWD: -100,
  O_PATH: 0o10000000,
  O_RDWR: 2,
  O_WRONLY: 1,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  AT_EMPTY_PATH: 0x1000,
  AT_RECURSIVE: 0x8000,
  OPEN_TREE_CLONE: 1,
  MOVE_F_EMPTY: 0x04,
  MOVE_T_SYMLINKS: 0x10,
  FSCONFIG_STRING: 1,
  FSCONFIG_FLAG: 0,
  FSCONFIG_CREATE: 6,
  ATTR_RDONLY: 1,
  ATTR_NOSUID: 2,
  ATTR_NODEV: 4,
  ATTR_NOEXEC: 8,
  MS_REC_PRIVATE: 0x4_4000,
  MNT_DETACH: 2,
  CLONE_NEWNS: 0x0002_0000,
  CLONE_NEWCGROUP: 0x0200_0000,
  CLONE_NEWUTS: 0x0400_0000,
  CLONE_NEWIPC: 0x0800_0000,
  CLONE_NEWPID: 0x2000_0000,
  CLONE_NEWNET: 0x4000_0000,
  SIGCHLD: 17,
  SIGKILL: 9,
  S_IFREG: 0o100000,
  PR_SET_PDEATHSIG: 1,
  PR_CAPBSET_DROP: 24,
  TIOCSCTTY: 0x540e,
  CLOSE_RANGE_CLOEXEC: 4,
  WALL: 0x4000_0000, // __WALL
} as const;

const DEVICES = ["null", "zero", "full", "random", "urandom", "tty"] as const;
/** Kernel control files a step must not see or change (threat model E4); those runc masks. */
const MASKED_FILES = ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts"];
const MASKED_DIRS = ["/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap"];
const READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

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
    SYS.CLONE_NEWNS | SYS.CLONE_NEWPID | SYS.CLONE_NEWIPC | SYS.CLONE_NEWUTS | SYS.CLONE_NEWCGROUP |
    (plan.network.kind === "none" ? SYS.CLONE_NEWNET : 0);

  program.call("prctl", [SYS.PR_SET_PDEATHSIG, SYS.SIGKILL, 0, 0, 0]);
  if (plan.network.kind === "join") program.call("setns", [plan.network.fd, SYS.CLONE_NEWNET], { what: "joining the step's network" });
  program.call("unshare", [namespaces], { what: "making the step's namespaces" });
  parentSide(program, child);

  program.here(child);
  program.call("prctl", [SYS.PR_SET_PDEATHSIG, SYS.SIGKILL, 0, 0, 0]);
  program.call("setsid", []);
  program.call("umask", [0o022]);
  program.call("mount", ["none", "/", 0, SYS.MS_REC_PRIVATE, 0], { what: "making mounts private" });
  if (plan.network.kind === "none") loopbackUp(program);

  const fds = openKernelMounts(program, plan);
  enterRoot(program, plan);
  placeKernelMounts(program, plan, fds);
  const aux = OWN_FD + 40;
  newMount(program, aux, "tmpfs", [["mode", "0700"], ["size", "16m"]], SYS.ATTR_NOSUID | SYS.ATTR_NODEV, "files of the step");
  placeData(program, aux, 0, plan.resolvConf, "/etc/resolv.conf");
  placeData(program, aux, 1, plan.hosts, "/etc/hosts");
  plan.mounts.forEach((mount, index) => placeMount(program, mount, aux, index + 2));
  if (!plan.insecure) protectKernelFiles(program);
  finishRoot(program, plan);
  dropPrivileges(program, plan);
  execute(program, plan);
  return program.assemble();
}

/** The launcher itself stays outside, tells pid and end, and takes the child with it when it is killed. */
function parentSide(program: Program, child: Label): void {
  const pid = words(STEP_STATUS.pid, 0n);
  const exit = new Uint8Array(16 + RUSAGE_BYTES);
  new DataView(exit.buffer).setBigUint64(0, STEP_STATUS.exit, true);
  program.call("clone", [SYS.SIGCHLD, 0, 0, 0, 0], { onZero: child, storeAt: { of: pid, offset: 8 }, what: "starting the step" });
  program.call("write", [STEP_FD.status, pid, 16], { onError: "ignore" });
  // Descriptors of mounts must not keep them alive behind the step; the status one stays.
  program.call("close_range", [STEP_FD.first, 0xffff_ffff, 0], { onError: "ignore" });
  program.call("close", [STEP_FD.stdout], { onError: "ignore" });
  program.call("close", [STEP_FD.stderr], { onError: "ignore" });
  const wait = program.label();
  program.here(wait);
  program.call("wait4", [-1, { of: exit, offset: 8 }, SYS.WALL, { of: exit, offset: 16 }], { onError: wait });
  program.call("write", [STEP_FD.status, exit, exit.length], { onError: "ignore" });
  program.call("exit_group", [0]);
}

interface KernelMounts {
  readonly proc: number;
  readonly sys: number;
  readonly devices: readonly { readonly name: string; readonly fd: number }[];
}

/** Makes /proc, /sys and the device nodes as detached mounts while the host's are still visible: the kernel allows new
 *  proc and sysfs mounts only to who can see a whole one (mount_too_revealing in fs/namespace.c). */
function openKernelMounts(program: Program, plan: StepPlan): KernelMounts {
  const proc = OWN_FD;
  const sys = OWN_FD + 1;
  newMount(program, proc, "proc", [], SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, "/proc");
  if (plan.network.kind === "host") {
    // A sysfs of its own needs a network namespace of its own: the host's is shown read-only.
    program.open(sys, "open_tree", [SYS.AT_FDCWD, "/sys", SYS.OPEN_TREE_CLONE | SYS.AT_RECURSIVE], { what: "/sys" });
  } else {
    newMount(program, sys, "sysfs", [], SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, "/sys");
  }
  if (!plan.insecure || plan.network.kind === "host") {
    setAttributes(program, sys, SYS.ATTR_RDONLY | SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, plan.network.kind === "host");
  }
  const devices = DEVICES.map((name, index) => {
    const fd = OWN_FD + 2 + index;
    program.open(fd, "open_tree", [SYS.AT_FDCWD, `/dev/${name}`, SYS.OPEN_TREE_CLONE], { what: `/dev/${name}` });
    return { name, fd };
  });
  return { proc, sys, devices };
}

function enterRoot(program: Program, plan: StepPlan): void {
  program.call("move_mount", [plan.rootFd, "", SYS.AT_FDCWD, plan.scratchDir, SYS.MOVE_F_EMPTY], { what: "placing the root file system" });
  program.call("fchdir", [plan.rootFd], { what: "entering the root file system" });
  program.call("pivot_root", [".", "."], { what: "changing the root file system" });
  program.call("umount2", [".", SYS.MNT_DETACH], { what: "leaving the host's file system" });
  program.call("chdir", ["/"]);
}

function placeKernelMounts(program: Program, plan: StepPlan, fds: KernelMounts): void {
  program.call("mkdirat", [SYS.AT_FDCWD, "/proc", 0o755], { onError: "ignore" });
  program.call("mkdirat", [SYS.AT_FDCWD, "/sys", 0o755], { onError: "ignore" });
  program.call("mkdirat", [SYS.AT_FDCWD, "/dev", 0o755], { onError: "ignore" });
  // Without T_SYMLINKS: an image whose /proc is a link is refused, not followed.
  program.call("move_mount", [fds.proc, "", SYS.AT_FDCWD, "/proc", SYS.MOVE_F_EMPTY], { what: "mounting /proc (is it a directory of the image?)" });
  program.call("move_mount", [fds.sys, "", SYS.AT_FDCWD, "/sys", SYS.MOVE_F_EMPTY], { what: "mounting /sys (is it a directory of the image?)" });
  const dev = OWN_FD + 30;
  newMount(program, dev, "tmpfs", [["mode", "0755"], ["size", "65536k"]], SYS.ATTR_NOSUID, "/dev");
  for (const device of fds.devices) {
    program.call("mknodat", [dev, device.name, SYS.S_IFREG | 0o666, 0]);
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
  if (plan.ttyFd !== null) program.call("mknodat", [dev, "console", SYS.S_IFREG | 0o620, 0]);
  program.call("move_mount", [dev, "", SYS.AT_FDCWD, "/dev", SYS.MOVE_F_EMPTY], { what: "mounting /dev (is it a directory of the image?)" });
  for (const device of fds.devices) {
    program.call("move_mount", [device.fd, "", SYS.AT_FDCWD, `/dev/${device.name}`, SYS.MOVE_F_EMPTY], { what: `/dev/${device.name}` });
  }
  const pts = OWN_FD + 31;
  newMount(
    program,
    pts,
    "devpts",
    [["ptmxmode", "0666"], ["mode", "0620"], ...(plan.singleId ? [] : [["gid", "5"] as const])],
    SYS.ATTR_NOSUID | SYS.ATTR_NOEXEC,
    "/dev/pts",
  );
  program.call("move_mount", [pts, "", SYS.AT_FDCWD, "/dev/pts", SYS.MOVE_F_EMPTY]);
  const shm = OWN_FD + 32;
  newMount(program, shm, "tmpfs", [["mode", "1777"], ["size", "65536k"]], SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, "/dev/shm");
  program.call("move_mount", [shm, "", SYS.AT_FDCWD, "/dev/shm", SYS.MOVE_F_EMPTY]);
  const mqueue = OWN_FD + 33;
  newMount(program, mqueue, "mqueue", [], SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, "/dev/mqueue");
  program.call("move_mount", [mqueue, "", SYS.AT_FDCWD, "/dev/mqueue", SYS.MOVE_F_EMPTY]);
  if (plan.ttyFd !== null) {
    const console = OWN_FD + 34;
    program.open(console, "open_tree", [plan.ttyFd, "", SYS.OPEN_TREE_CLONE | SYS.AT_EMPTY_PATH], { what: "/dev/console" });
    program.call("move_mount", [console, "", SYS.AT_FDCWD, "/dev/console", SYS.MOVE_F_EMPTY], { onError: "ignore" });
  }
}

/** A file on the step's private tmpfs, bound read-only to its place. */
function placeData(program: Program, aux: number, index: number, text: string, target: string): void {
  placeMount(
    program,
    { target, readonly: true, source: { kind: "data", data: new TextEncoder().encode(text), uid: 0, gid: 0, mode: 0o644 } },
    aux,
    index,
  );
}

function placeMount(program: Program, mount: StepMount, aux: number, index: number): void {
  const { source, target } = mount;
  const fd = OWN_FD + 41;
  const isFile = source.kind === "data" || (source.kind === "fd" && source.isFile);
  makeTarget(program, target, isFile);
  const place = (from: number): void => {
    program.call("move_mount", [from, "", SYS.AT_FDCWD, target, SYS.MOVE_F_EMPTY | SYS.MOVE_T_SYMLINKS], { what: `mounting ${target}` });
  };
  switch (source.kind) {
    case "fd":
      if (mount.readonly) setAttributes(program, source.fd, SYS.ATTR_RDONLY, true);
      place(source.fd);
      return;
    case "tmpfs":
      newMount(
        program,
        fd,
        "tmpfs",
        [["mode", "1777"], ...(source.sizeBytes === null ? [] : [["size", String(source.sizeBytes)] as const])],
        SYS.ATTR_NOSUID | SYS.ATTR_NODEV,
        target,
      );
      place(fd);
      return;
    case "data": {
      const name = `f${index}`;
      const file = OWN_FD + 42;
      program.open(file, "openat", [aux, name, SYS.O_RDWR | SYS.O_CREAT | SYS.O_EXCL, 0o600], { what: target });
      if (source.data.length > 0) program.call("write", [file, source.data, source.data.length], { what: target });
      if (source.uid !== 0 || source.gid !== 0) {
        program.call("fchown", [file, source.uid, source.gid], { what: `owner ${source.uid}:${source.gid} of ${target}` });
      }
      program.call("fchmod", [file, source.mode]);
      program.call("close", [file]);
      program.open(fd, "open_tree", [aux, name, SYS.OPEN_TREE_CLONE], { what: target });
      if (mount.readonly) setAttributes(program, fd, SYS.ATTR_RDONLY | SYS.ATTR_NOSUID | SYS.ATTR_NODEV | SYS.ATTR_NOEXEC, false);
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
    if (isFile && index === parts.length - 1) program.call("mknodat", [SYS.AT_FDCWD, path, SYS.S_IFREG | 0o644, 0], { onError: "ignore" });
    else program.call("mkdirat", [SYS.AT_FDCWD, path, 0o755], { onError: "ignore" });
  });
}

function protectKernelFiles(program: Program): void {
  const fd = OWN_FD + 43;
  for (const path of READONLY_PATHS) {
    const absent = program.label();
    program.open(fd, "open_tree", [SYS.AT_FDCWD, path, SYS.OPEN_TREE_CLONE | SYS.AT_RECURSIVE], { onError: absent });
    setAttributes(program, fd, SYS.ATTR_RDONLY, true);
    program.call("move_mount", [fd, "", SYS.AT_FDCWD, path, SYS.MOVE_F_EMPTY], { what: `protecting ${path}` });
    program.here(absent);
  }
  for (const path of MASKED_FILES) {
    const absent = program.label();
    program.open(fd, "openat", [SYS.AT_FDCWD, path, SYS.O_PATH, 0], { onError: absent });
    program.open(fd, "open_tree", [SYS.AT_FDCWD, "/dev/null", SYS.OPEN_TREE_CLONE]);
    program.call("move_mount", [fd, "", SYS.AT_FDCWD, path, SYS.MOVE_F_EMPTY], { what: `masking ${path}` });
    program.here(absent);
  }
  for (const path of MASKED_DIRS) {
    const absent = program.label();
    program.open(fd, "openat", [SYS.AT_FDCWD, path, SYS.O_PATH, 0], { onError: absent });
    newMount(program, fd, "tmpfs", [["size", "0"], ["nr_inodes", "1"]], SYS.ATTR_RDONLY | SYS.ATTR_NOSUID | SYS.ATTR_NODEV, path);
    program.call("move_mount", [fd, "", SYS.AT_FDCWD, path, SYS.MOVE_F_EMPTY], { what: `masking ${path}` });
    program.here(absent);
  }
}

function finishRoot(program: Program, plan: StepPlan): void {
  const hostname = new TextEncoder().encode(plan.hostname);
  program.call("sethostname", [hostname, hostname.length], { what: "setting the host name" });
  if (plan.cwd !== "/") makeTarget(program, plan.cwd, false);
  if (plan.rootReadonly) {
    program.call("mount_setattr", [SYS.AT_FDCWD, "/", 0, attributes(SYS.ATTR_RDONLY), 32], { what: "making the root read-only" });
  }
  for (const limit of plan.rlimits) {
    program.call("prlimit64", [0, limit.resource, words(limit.soft, limit.hard), 0], { what: "setting a resource limit" });
  }
}

function dropPrivileges(program: Program, plan: StepPlan): void {
  // Standard streams belong to whoever runs, so that /dev/stdout can be opened by any user.
  if (plan.stdinFd === null) {
    program.call("openat", [SYS.AT_FDCWD, "/dev/null", 0, 0], { intoNextArg: 0 });
    program.call("dup3", [0, 0, 0]);
  } else {
    program.call("dup3", [plan.stdinFd, 0, 0]);
  }
  if (plan.ttyFd !== null) {
    for (const fd of [0, 1, 2]) program.call("dup3", [plan.ttyFd, fd, 0]);
    program.call("ioctl", [0, SYS.TIOCSCTTY, 0], { what: "taking the terminal" });
    program.call("fchown", [0, plan.uid, plan.gid], { onError: "ignore" });
  } else if (plan.uid !== 0) {
    for (const fd of [1, 2]) program.call("fchown", [fd, plan.uid, plan.gid], { onError: "ignore" });
  }
  // Installed while CAP_SYS_ADMIN is there, since no_new_privs stays off (threat model E3).
  if (plan.seccomp !== null) {
    program.call("seccomp", [1, 0, { words: [BigInt(plan.seccomp.length / 8), plan.seccomp] }], { what: "installing the system-call filter" });
  }
  if (!plan.insecure) {
    for (let capability = 0; capability <= LAST_CAPABILITY; capability++) {
      if (DEFAULT_CAPABILITIES.includes(capability)) continue;
      // EINVAL: a capability this kernel does not know.
      program.call("prctl", [SYS.PR_CAPBSET_DROP, capability, 0, 0, 0], { onError: "ignore" });
    }
  }
  const groups = new Uint8Array(plan.groups.length * 4);
  plan.groups.forEach((group, index) => new DataView(groups.buffer).setUint32(index * 4, group, true));
  if (!plan.singleId) program.call("setgroups", [plan.groups.length, groups], { what: "setting the groups" });
  program.call("setresgid", [plan.gid, plan.gid, plan.gid], { what: `becoming group ${plan.gid}` });
  program.call("setresuid", [plan.uid, plan.uid, plan.uid], { what: `becoming user ${plan.uid}` });
  program.call("prctl", [SYS.PR_SET_PDEATHSIG, SYS.SIGKILL, 0, 0, 0]);
  if (plan.uid === 0 && !plan.insecure) {
    const caps = capsetArguments(DEFAULT_CAPABILITIES);
    program.call("capset", [caps.header, caps.data], { what: "dropping capabilities" });
  }
}

function execute(program: Program, plan: StepPlan): void {
  program.call("chdir", [plan.cwd], { what: `entering the working directory ${plan.cwd}` });
  program.call("close_range", [3, 0xffff_ffff, SYS.CLOSE_RANGE_CLOEXEC], { what: "closing descriptors" });
  const name = plan.args[0] ?? "";
  const argv: Arg = { pointers: plan.args };
  const envp: Arg = { pointers: plan.env };
  const failed = program.label();
  const candidates = name.includes("/") ? [name] : searchPath(plan.env).map((dir) => `${dir}/${name}`);
  for (const candidate of candidates) {
    const next = program.label();
    program.call("execve", [candidate, argv, envp], { onError: next });
    program.here(next);
  }
  program.here(failed);
  const message = words(STEP_STATUS.execFailed, 0n);
  // The header holds (record, -errno) of the last failed execve; the kind is in the block.
  program.call("write", [STEP_FD.status, message, 8], { onError: "ignore" });
  program.call("write", [STEP_FD.status, { header: 16 }, 8], { onError: "ignore" });
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
function newMount(
  program: Program,
  fd: number,
  type: string,
  options: readonly (readonly [string, string])[],
  attributeBits: number,
  what: string,
): void {
  const context = OWN_FD + 50;
  program.open(context, "fsopen", [type, 1], { what: `mounting ${what}` });
  for (const [key, value] of options) {
    program.call("fsconfig", [context, SYS.FSCONFIG_STRING, key, value, 0], { what: `mounting ${what} (${key}=${value})` });
  }
  program.call("fsconfig", [context, SYS.FSCONFIG_CREATE, 0, 0, 0], { what: `mounting ${what}` });
  program.open(fd, "fsmount", [context, 1, attributeBits], { what: `mounting ${what}` });
}

function setAttributes(program: Program, fd: number, set: number, recursive: boolean): void {
  program.call("mount_setattr", [fd, "", SYS.AT_EMPTY_PATH | (recursive ? SYS.AT_RECURSIVE : 0), attributes(set), 32], {
    what: "changing mount attributes",
  });
}

/** struct mount_attr, mount_setattr(2). */
function attributes(set: number): Uint8Array {
  return words(BigInt(set), 0n, 0n, 0n);
}

function loopbackUp(program: Program): void {
  // struct ifreq: name "lo", flags IFF_UP | IFF_RUNNING; netdevice(7).
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode("lo"));
  new DataView(request.buffer).setUint16(16, 0x41, true);
  const socket = OWN_FD + 51;
  program.open(socket, "socket", [2 /* AF_INET */, 2 /* SOCK_DGRAM */, 0]);
  program.call("ioctl", [socket, 0x8914 /* SIOCSIFFLAGS */, request], { what: "bringing up loopback" });
  program.call("close", [socket]);
}

function words(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setBigUint64(index * 8, value, true));
  return bytes;
}
