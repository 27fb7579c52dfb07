// The system calls of one step, in order, as a program for the launcher: namespaces, root, mounts, limits, privileges, execve.
//
// No host path is reachable when the first path of the image is resolved: sources of mounts are descriptors of detached
// mounts, /proc and /sys are created (not attached) while the old root still exists, then pivot_root. From then on every path
// is resolved by the kernel inside the new root, so a link in the image cannot lead outside (threat model P1, P7, P8).

import { loopbackUp } from "../launcher/network.ts";
import { openProgram, type Arg, type Label, type Program } from "../launcher/program.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { AT, CLONE, MS, PR, SIG } from "../sys/constants.ts";
import { words } from "./mount-calls.ts";
import { capsetArguments, DEFAULT_CAPABILITIES, LAST_CAPABILITY } from "./capabilities.ts";
import {
  installFilter,
  installTellingFilter,
  prepareToTell,
  tellUntilEnd,
  unblockEndSignal,
} from "./notify-program.ts";
import { type JoinPlan, RUSAGE_BYTES, STEP_STATUS, type StepPlan, SYS } from "./step-plan.ts";
import { limitAndPlace, makeRoot } from "./step-root.ts";

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

  makeRoot(program, plan);
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
