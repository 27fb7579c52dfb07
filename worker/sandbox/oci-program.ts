// The two programs around a step in an OCI runtime.
//
// Outside, `lifecycleProgram` gives the runtime its own mount namespace, in which it mounts the bundle and the sources of the step's
// mounts, calls create and start as in runtime-spec's runtime.md, waits for the container itself (as a subreaper, so that
// exit code, signal and use of CPU and memory come from the kernel) and ends with delete.
//
// Inside, the container's process is the launcher with `entryProgram`: it sets up the standard streams and
// executes the command. So the command is looked up and executed by the same calls as in the built-in sandbox, with the same
// messages if that fails, and this is the only host file executed in the container (CVE-2019-5736).

import { openProgram, type Arg, type Program } from "../launcher/program.ts";
import type { LauncherArch } from "../launcher/elf.ts";
import { newMount, setAttributes, words } from "./mount-calls.ts";
import { DEVICES, RUSAGE_BYTES, SYS } from "./step-plan.ts";
import { execute } from "./step-program.ts";
import { OCI_ROOTFS } from "./oci-config.ts";
import { AT, CLONE, MOUNT_ATTR, MOVE_MOUNT, MS, O, OPEN_TREE, PR, SIG } from "../sys/constants.ts";

/** Descriptors of the lifecycle's launcher. */
export const OCI_FD = {
  program: 0,
  stdout: 1,
  stderr: 2,
  /** For OCI_STATUS and failed calls. */
  status: 3,
  /** What is handed in follows from here on, and has to stay below `own`. */
  first: 4,
  /** What the program opens and places at once. For newMount there is STEP_FD.fsContext besides. */
  own: 400,
  /** From here on copies of what the container's process gets, on their way to their places. */
  moved: 500,
} as const;
/** Descriptors the container's process starts with, behind its program at 0. `stdin` and `tty` are there when wanted. */
export const ENTRY_FD = { status: 3, launcher: 4, stdout: 5, stderr: 6, input: 7 } as const;
/** What the container's process executes, by the descriptor. */
export const ENTRY_PATH: string = `/proc/self/fd/${ENTRY_FD.launcher}`;
/** Messages on OCI_FD.status: created and starting (the pid of `start`), 16 bytes; reaped: kind, pid, wait status, rusage. */
export const OCI_STATUS = { created: 6n, starting: 7n, reaped: 8n } as const;
export const REAPED_BYTES: number = 24 + RUSAGE_BYTES;
/** The file the runtime writes the container's pid to. */
export const PID_FILE = "pid";

const CGROUP_DIR = "/sys/fs/cgroup";

export interface Lifecycle {
  readonly arch: LauncherArch;
  /** Where the bundle is placed: a directory of the host that only serves as a mount point. */
  readonly bundleDir: string;
  readonly bundleFd: number; // detached mount
  readonly rootFd: number; // detached mount
  /** Detached mounts and the names their places have in the bundle. */
  readonly mounts: readonly { readonly fd: number; readonly name: string }[];
  /** What the container's process gets at 0 and from ENTRY_FD.status on. */
  readonly entryFds: readonly number[];
  readonly cgroupFd: number | null;
  /** What the runtime finds at /sys/fs/cgroup: nothing, or the host's as it is but read-only. */
  readonly cgroups: "hidden" | "readonly";
  /** Program and arguments before the command, then what the commands get. */
  readonly runtime: readonly string[];
  readonly env: readonly string[];
  readonly id: string;
}

/** The whole life of one container. */
export function lifecycleProgram(plan: Lifecycle): ReturnType<Program["assemble"]> {
  const program = openProgram(plan.arch, OCI_FD.status);
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.call("prctl", [PR.SET_CHILD_SUBREAPER, 1, 0, 0, 0]);
  program.call("unshare", [CLONE.NEWNS], { what: "creating the runtime's mount namespace" });
  program.call("mount", ["none", "/", 0, MS.REC | MS.PRIVATE, 0], { what: "making mounts private" });
  placeKernelFiles(program, plan.cgroups);
  placeBundle(program, plan);
  program.call("umask", [0o022]);

  const end = program.label();
  const { bundleDir, id } = plan;
  const preserved = String(plan.entryFds.length - 1);
  runtimeCall(
    program,
    plan,
    [
      "create",
      "--bundle",
      bundleDir,
      "--pid-file",
      `${bundleDir}/${PID_FILE}`,
      "--preserve-fds",
      preserved,
      id,
    ],
    true,
  );
  // From here on only the container holds the step's streams, so that they end with it.
  program.call("close_range", [OCI_FD.first, SYS.LAST_FD, 0], { onError: "ignore" });
  // The pid file is the last a runtime does: without it there is no container, and the runtime has said why.
  program.call("faccessat", [AT.FDCWD, `${bundleDir}/${PID_FILE}`, 0], { onError: end });
  program.call("write", [OCI_FD.status, words(OCI_STATUS.created, 0n), 16], { onError: "ignore" });
  startAndReap(program, plan);
  program.here(end);
  runtimeCall(program, plan, ["delete", "--force", id], false);
  program.call("exit_group", [0]);
  return program.assemble();
}

/** A /proc of the pid namespace the runtime is in, no cgroups to be managed, and device nodes that nobody can change. */
function placeKernelFiles(program: Program, cgroups: Lifecycle["cgroups"]): void {
  const fd = OCI_FD.own;
  const closed = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
  newMount(program, fd, { type: "proc", attributeBits: closed, what: "/proc" });
  program.call("move_mount", [fd, "", AT.FDCWD, "/proc", MOVE_MOUNT.F_EMPTY_PATH], {
    what: "mounting /proc",
  });
  const absent = program.label();
  if (cgroups === "hidden") {
    newMount(program, fd, {
      type: "tmpfs",
      options: [["mode", "0555"]],
      attributeBits: closed | MOUNT_ATTR.RDONLY,
      what: "an empty /sys/fs/cgroup",
    });
  } else {
    const all = OPEN_TREE.CLONE | AT.RECURSIVE;
    program.open(fd, "open_tree", [AT.FDCWD, CGROUP_DIR, all], { onError: absent });
    setAttributes(program, fd, MOUNT_ATTR.RDONLY, true);
  }
  program.call("move_mount", [fd, "", AT.FDCWD, CGROUP_DIR, MOVE_MOUNT.F_EMPTY_PATH], { onError: absent });
  program.here(absent);
  for (const name of DEVICES) {
    // A runtime without the right to make nodes binds the host's, and a bind is as read-only as what it was made from.
    const missing = program.label();
    program.open(fd, "open_tree", [AT.FDCWD, `/dev/${name}`, OPEN_TREE.CLONE], { onError: missing });
    setAttributes(program, fd, MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC, false);
    program.call("move_mount", [fd, "", AT.FDCWD, `/dev/${name}`, MOVE_MOUNT.F_EMPTY_PATH], {
      what: `/dev/${name}`,
    });
    program.here(missing);
  }
}

function placeBundle(program: Program, plan: Lifecycle): void {
  const place = (fd: number, path: string, what: string): void => {
    program.call("move_mount", [fd, "", AT.FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH], { what });
  };
  place(plan.bundleFd, plan.bundleDir, "attaching the bundle");
  place(plan.rootFd, `${plan.bundleDir}/${OCI_ROOTFS}`, "attaching the root file system");
  for (const { fd, name } of plan.mounts)
    place(fd, `${plan.bundleDir}/${name}`, `attaching ${name} of the bundle`);
  program.call("chdir", [plan.bundleDir]);
}

/** Runs the runtime once and waits for it. `isCreate`: it gets the container's descriptors, and enters its cgroup. */
function runtimeCall(program: Program, plan: Lifecycle, args: readonly string[], isCreate: boolean): void {
  const child = program.label();
  const after = program.label();
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], {
    onZero: child,
    intoNextArg: 0,
    what: "starting the runtime",
  });
  program.call("wait4", [0, 0, SYS.WALL, 0], { onError: after, next: after });
  program.here(child);
  if (isCreate) containerDescriptors(program, plan);
  else silence(program);
  execRuntime(program, plan, args);
  program.here(after);
}

/** What `delete` says of a container that never was would hide why. */
function silence(program: Program): void {
  const fd = OCI_FD.own;
  program.open(fd, "openat", [AT.FDCWD, "/dev/null", O.WRONLY, 0], { what: "/dev/null" });
  for (const stream of [OCI_FD.stdout, OCI_FD.stderr]) program.call("dup3", [fd, stream, 0]);
}

function execRuntime(program: Program, plan: Lifecycle, args: readonly string[]): void {
  const argv: Arg = { pointers: [...plan.runtime, ...args] };
  const failed = program.label();
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.call("execve", [plan.runtime[0] ?? "", argv, { pointers: plan.env }], { onError: failed });
  program.here(failed);
  program.call("exit_group", [127]);
}

function containerDescriptors(program: Program, plan: Lifecycle): void {
  if (plan.cgroupFd !== null)
    program.call("write", [plan.cgroupFd, "0", 1], { what: "entering the step's cgroup" });
  // Out of the way first: places and sources overlap.
  plan.entryFds.forEach((fd, index) => program.call("dup3", [fd, OCI_FD.moved + index, 0]));
  program.call("close_range", [OCI_FD.status, OCI_FD.moved - 1, 0], { what: "closing descriptors" });
  plan.entryFds.forEach((_fd, index) =>
    program.call("dup3", [OCI_FD.moved + index, index === 0 ? 0 : ENTRY_FD.status + index - 1, 0]),
  );
  program.call("close_range", [ENTRY_FD.status + plan.entryFds.length - 1, SYS.LAST_FD, 0], {
    what: "closing descriptors",
  });
}

/** `start` and the container end in any order; what is left behind by them comes here as well. */
function startAndReap(program: Program, plan: Lifecycle): void {
  const start = program.label();
  const wait = program.label();
  const none = program.label();
  const told = program.label();
  const starting = words(OCI_STATUS.starting, 0n);
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], {
    onZero: start,
    next: told,
    storeAt: { of: starting, offset: 8 },
    what: "starting the runtime",
  });
  program.here(start);
  execRuntime(program, plan, ["start", plan.id]);
  program.here(told);
  program.call("write", [OCI_FD.status, starting, starting.length], { onError: "ignore" });
  const message = new Uint8Array(REAPED_BYTES);
  new DataView(message.buffer).setBigUint64(0, OCI_STATUS.reaped, true);
  program.here(wait);
  program.call("wait4", [-1, { of: message, offset: 16 }, SYS.WALL, { of: message, offset: 24 }], {
    storeAt: { of: message, offset: 8 },
    onError: none, // ECHILD
  });
  program.call("write", [OCI_FD.status, message, message.length], { onError: wait, next: wait });
  program.here(none);
}

export interface Entry {
  readonly arch: LauncherArch;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** What is at ENTRY_FD.input. */
  readonly input: "nothing" | "stdin" | "tty";
}

/** The last steps inside the container, as the user of the step. */
export function entryProgram(plan: Entry): ReturnType<Program["assemble"]> {
  const program = openProgram(plan.arch, ENTRY_FD.status);
  program.call("umask", [0o022]);
  if (plan.input === "tty") {
    for (const fd of [0, 1, 2]) program.call("dup3", [ENTRY_FD.input, fd, 0]);
    program.call("ioctl", [0, SYS.TIOCSCTTY, 0], { what: "acquiring the terminal" });
  } else {
    if (plan.input === "stdin") {
      program.call("dup3", [ENTRY_FD.input, 0, 0]);
    } else {
      program.call("openat", [AT.FDCWD, "/dev/null", 0, 0], { intoNextArg: 0 });
      program.call("dup3", [0, 0, 0]);
    }
    program.call("dup3", [ENTRY_FD.stdout, 1, 0]);
    program.call("dup3", [ENTRY_FD.stderr, 2, 0]);
  }
  program.call("close_range", [ENTRY_FD.launcher, SYS.LAST_FD, 0], { what: "closing descriptors" });
  execute(program, plan);
  return program.assemble();
}
