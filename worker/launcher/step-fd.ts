// Descriptor numbers of a step's program, all in one table, so that two things that are open at the same time never get one number.
//
// The launcher is started with the low ones (sandbox/builtin.ts); what is handed in besides (pipes, sockets, mounts) follows from
// aliveRead on, in the order it is asked for, and has to stay below earlyZero: what the program opens itself is moved to numbers
// from there on: nextFd() refuses more.

import { BuildError } from "../../solver/graph/error.ts";

export const STEP_FD = {
  // What the launcher starts with.
  /** Where the launcher reads its program. Free from then on: the step's standard input. */
  program: 0,
  /** Standard output of the step. */
  stdout: 1,
  /** Its standard error. */
  stderr: 2,
  /** A socket to the keeper, for STEP_STATUS and failed calls. */
  status: 3,
  /** With aliveWrite a pipe (O_NONBLOCK) that only the launcher outside holds open, see `childSide`. The first that is handed in. */
  aliveRead: 4,
  /** The other end. In the step, from its last calls on, its end of the pair of sockets that the filter's listener goes through. */
  aliveWrite: 5,
  /** From here on what only some steps have, in any order: mounts, the network, a terminal, the cgroup. */
  first: 6,

  // Of the launcher outside that waits for what the step's filter tells, once the step is cloned (sandbox/notify-program.ts). It has
  // no use for standard streams, and signalfd4(2) and recvmsg(2) choose the lowest number that is free.
  /** Its end of the pair of sockets. */
  outsideSocket: 0,
  /** The signalfd that tells of the step's end. */
  outsideChild: 1,
  /** /dev/zero. */
  outsideZero: 2,
  /** The listener of the step's filter. The keeper takes it from there (sandbox/notify.ts). */
  outsideListener: 4,

  // What the program opens. Above all that is handed in.
  /** /dev/zero for outsideZero, opened while the host's root is still there. */
  earlyZero: 398,
  /** For loopbackUp and the routes of a network (launcher/network.ts), also in programs that only make a network namespace. */
  socket: 399,
  /** /proc as a detached mount. */
  proc: 400,
  /** /sys as a detached mount. */
  sys: 401,
  /** The first of as many device nodes as there are in DEVICES, each a detached mount; up to 429 is kept for them. */
  devices: 402,
  /** The step's /dev, as long as it is set up. */
  dev: 430,
  /** /dev/pts. */
  pts: 431,
  /** /dev/shm. */
  shm: 432,
  /** /dev/mqueue. */
  mqueue: 433,
  /** /sys/fs/cgroup. */
  cgroup: 435,
  /** The private tmpfs with files of the step: resolv.conf, hosts, secrets. */
  files: 440,
  /** The mount of the step that is made now. */
  mount: 441,
  /** The file on `files` that is written now. */
  file: 442,
  /** A clone that hides a kernel file or makes it read-only. */
  mask: 443,
  /** The place a mount goes to. */
  target: 444,
  /** The empty tmpfs that stands in for directories to be hidden. */
  empty: 445,
  /** kernel.pid_max of the step's pid namespace (sandbox/process-bound.ts). */
  pidMax: 446,
  /** The file system that newMount configures; also in the program around an OCI runtime. */
  fsContext: 450,
} as const;

/** The next number for what is handed in, of a program that opens its own descriptors from `own` on. Throws LIMIT_EXCEEDED: a mount that took the
 *  number of the step's /proc would be closed, or put in its place. */
export function nextFd(first: number, passed: readonly number[], own: number): number {
  const next = first + passed.length;
  if (next < own - SPARE) return next;
  throw new BuildError(
    "LIMIT_EXCEEDED",
    `the step has more mounts than the sandbox takes, which is about ${own - SPARE}`,
    {
      hint: "mount one directory with all of them in it",
    },
  );
}
/** Numbers left free below those of the program: a call of its own gets the lowest free one first, and dup3(2) refuses to copy a descriptor to the
 *  number it has. */
const SPARE = 20;
