// [keeper] Applies the limit of processes of a step (worker/process-bound.ts computes it).
//
// Since Linux 6.14 each pid namespace has its own kernel.pid_max, which its root may write (kernel/pid_namespace.c): it counts
// processes and threads of all users, costs one write, and a step cannot change it, because its /proc/sys is read-only.
// Before, the file is machine-wide: root of a namespace with root's id could write it, so it is never opened there. The
// alternative is RLIMIT_NPROC, which the kernel counts per user and does not apply to the machine's root (getrlimit(2)).

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { launcherArch } from "../launcher/install.ts";
import { openProgram, type Program } from "../launcher/program.ts";
import { AT, CLONE, O, PR, SIG } from "../sys/constants.ts";

export type ProcessBound =
  | { readonly kind: "none" }
  | { readonly kind: "pid_max"; readonly value: number }
  | { readonly kind: "rlimit"; readonly value: number };

/** Numbers below this are given out once only (RESERVED_PIDS of kernel/pid.c). */
const RESERVED_PIDS = 300;
const PID_MAX_LIMIT = 4_194_304;
const PID_MAX_FILE = "/proc/sys/kernel/pid_max";

/** What keeps the bound on this kernel. */
export function processBoundOf(processes: number | null, kernel: string = release()): ProcessBound {
  if (processes === null) return { kind: "none" };
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  if (major > 6 || (major === 6 && minor >= 14))
    return { kind: "pid_max", value: Math.min(processes + RESERVED_PIDS + 1, PID_MAX_LIMIT) };
  return { kind: "rlimit", value: Math.min(processes, ownHardLimit()) };
}

/** What this user may have; only the machine's root can raise it. proc_pid_limits(5) */
function ownHardLimit(): number {
  const text = readFileSync("/proc/self/limits", "latin1");
  return Number(/^Max processes\s+\S+\s+(\d+)/m.exec(text)?.[1] ?? Infinity); // or "unlimited"
}

/** Writes pid_max of the pid namespace the program is in. `fd`: a number nothing else of it has. */
export function writePidMax(program: Program, fd: number, bound: ProcessBound): void {
  if (bound.kind !== "pid_max") return;
  const text = String(bound.value);
  program.open(fd, "openat", [AT.FDCWD, PID_MAX_FILE, O.WRONLY, 0], {
    what: "setting the limit of processes",
  });
  program.call("write", [fd, text, text.length], { what: "setting the limit of processes" });
  program.call("close", [fd]);
}

/** The same for a container that a runtime has made, by the pid of its first process. It is not waited for: who begins to multiply
 *  before it is done has not come far. */
export function boundContainer(launcher: string, pid: number, bound: ProcessBound): void {
  if (bound.kind !== "pid_max") return;
  const fd = 10; // not the lowest that is free: dup3(2) refuses to move a descriptor to itself
  const program = openProgram(launcherArch(), 2);
  const child = program.label();
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  program.open(fd, "pidfd_open", [pid, 0]); // ESRCH: it is gone already
  program.call("setns", [fd, CLONE.NEWPID]);
  program.call("clone", [SIG.CHLD, 0, 0, 0, 0], { onZero: child, intoNextArg: 0 });
  program.call("wait4", [0, 0, 0, 0]);
  program.call("exit_group", [0]);
  program.here(child);
  writePidMax(program, fd + 1, bound);
  program.call("exit_group", [0]);
  const maker = spawn(launcher, [], { stdio: ["pipe", "ignore", "ignore"], env: {}, cwd: "/" });
  maker.on("error", () => {}); // the step runs without the bound, as on an older kernel
  maker.stdin?.on("error", () => {});
  maker.stdin?.end(program.assemble().bytes);
}
