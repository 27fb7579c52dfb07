// Records of a step's program for calls that are reported to the keeper (seccomp-notify.ts).
//
// The step sends the listener of its filter to the launcher outside, which waits for the step's end anyway. The launcher waits for both,
// which Node could only do with a thread per step, and writes notifications to the status descriptor, which Node reads anyway. The
// keeper takes the listener from it when there is a call to handle (notify.ts).

import type { StepFilter } from "./seccomp-notify.ts";
import type { Arg, Label, Program } from "../launcher/program.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { AT, SIG } from "../sys/constants.ts";

/** struct seccomp_notif. linux/seccomp.h */
export const NOTIFICATION_BYTES = 80;

const [SECCOMP_SET_MODE_FILTER, FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE] = [1, 8, 32];
const SECCOMP_IOCTL_NOTIF_RECV = 0xc050_2100;
const [LAST_FD, SIG_DFL, SA_NOCLDSTOP, SIG_BLOCK, SIG_UNBLOCK] = [0xffff_ffff, 0, 1, 0, 1];
/** A set of signals. signal(7): none is numbered 0. */
const CHILD_SIGNAL: Arg = { words: [1 << (SIG.CHLD - 1)] };
/** struct cmsghdr with one descriptor: SOL_SOCKET, SCM_RIGHTS. unix(7), cmsg(3) */
const CONTROL_BYTES = 24;
const CONTROL_FD_OFFSET = 16;

/** Installs the filter and hands its listener to the launcher outside. `fd`: the step's end of the pair of sockets. A process can have
 *  one listener only: below another listener (a container manager that answers calls itself) the filter that tells nothing is it. */
export function installTellingFilter(program: Program, { filter, alone }: StepFilter, fd: number): void {
  const control = new Uint8Array(CONTROL_BYTES);
  new DataView(control.buffer).setUint32(0, 20, true);
  new DataView(control.buffer).setUint32(8, 1, true);
  new DataView(control.buffer).setUint32(12, 1, true);
  const what = "installing the system-call filter";
  const [installed, older, without, end] = [
    program.label(),
    program.label(),
    program.label(),
    program.label(),
  ];
  const storeAt = { of: control, offset: CONTROL_FD_OFFSET };
  const install = (flags: number, onError: Label): void => {
    program.call("seccomp", [SECCOMP_SET_MODE_FILTER, flags, rules(filter)], {
      storeAt,
      next: installed,
      onError,
    });
  };
  // Told calls go on waiting through signals that do not kill, so that none is told twice: since Linux 5.19.
  install(FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE, older);
  program.here(older);
  install(FLAG_NEW_LISTENER, without);
  program.here(without);
  if (alone === null) program.call("getpid", [], { next: end });
  else program.call("seccomp", [SECCOMP_SET_MODE_FILTER, 0, rules(alone)], { what, onZero: end });
  program.here(installed);
  program.call("sendmsg", [fd, message(control), 0], { what });
  program.here(end);
}

/** Installs a filter that tells nothing. */
export function installFilter(program: Program, { filter }: StepFilter): void {
  program.call("seccomp", [SECCOMP_SET_MODE_FILTER, 0, rules(filter)], {
    what: "installing the system-call filter",
  });
}

/** struct sock_fprog, seccomp(2). */
function rules(filter: Uint8Array): Arg {
  return { words: [filter.length / 8, filter] };
}

/** What tellUntilEnd needs, before the step is cloned and takes the launcher's root with it (pivot_root(2)): zeroes, and the signal
 *  of the step's end kept until it is asked for. Not for a step that only stops. */
export function prepareToTell(program: Program): void {
  program.open(STEP_FD.earlyZero, "openat", [AT.FDCWD, "/dev/zero", 0, 0], { what: "/dev/zero" });
  program.call("rt_sigaction", [SIG.CHLD, { words: [SIG_DFL, SA_NOCLDSTOP, 0, 0] }, 0, 8]);
  program.call("rt_sigprocmask", [SIG_BLOCK, CHILD_SIGNAL, 0, 8]);
}

/** The step itself has no signal blocked. */
export function unblockEndSignal(program: Program): void {
  program.call("rt_sigprocmask", [SIG_UNBLOCK, CHILD_SIGNAL, 0, 8]);
}

/** Waits until the step has ended, and writes what its filter tells to the status meanwhile, behind a header of (`kind`, 0). For the
 *  launcher outside, once the step is cloned. `fd`: its end of the pair of sockets, as it was handed in. */
export function tellUntilEnd(program: Program, fd: number, kind: bigint): void {
  const { outsideSocket: socket, outsideChild, outsideZero, outsideListener: listener } = STEP_FD;
  const told = new Uint8Array(NOTIFICATION_BYTES);
  const head = new Uint8Array(16);
  new DataView(head.buffer).setBigUint64(0, kind, true);
  const [end, loop, busy, nothing] = [program.label(), program.label(), program.label(), program.label()];
  const failing = { onError: end };
  for (const free of [outsideChild, outsideZero, listener])
    program.call("close", [free], { onError: "ignore" });
  program.call("dup3", [fd, socket, 0]);
  program.call("dup3", [STEP_FD.earlyZero, outsideZero, 0]);
  program.call("close_range", [STEP_FD.first, LAST_FD, 0]);
  program.call("signalfd4", [-1, CHILD_SIGNAL, 8, 0], failing); // becomes outsideChild
  // The listener becomes outsideListener. 0: the step ended before it had one.
  program.call("recvmsg", [socket, message(new Uint8Array(CONTROL_BYTES)), 0], { onZero: end, onError: end });
  program.here(loop);
  const both = { words: [pollIn(outsideChild), pollIn(listener)] };
  program.call("ppoll", [both, 2, 0, 0, 0], failing);
  program.call("ppoll", [{ words: [pollIn(outsideChild)] }, 1, { words: [0, 0] }, 0, 0], {
    onZero: busy,
    next: end,
    onError: end,
  });
  program.here(busy);
  program.call("read", [outsideZero, told, NOTIFICATION_BYTES], failing); // the kernel wants it zeroed
  program.call("ioctl", [listener, SECCOMP_IOCTL_NOTIF_RECV, told], { onError: nothing });
  program.call("writev", [STEP_FD.status, { words: [head, head.length, told, told.length] }, 2], {
    next: loop,
    ...failing,
  });
  // ENOENT: the caller was killed meanwhile. Or all are gone (POLLHUP, which needs no asking for), some time before the end of the
  // first is told, since Linux gives back filters early: to poll for that would be to spin.
  program.here(nothing);
  program.call("ppoll", [{ words: [listener] }, 1, { words: [0, 0] }, 0, 0], {
    onZero: loop,
    next: end,
    ...failing,
  });
  program.here(end);
  // Whoever still waits for an answer hears ENOSYS.
  for (const held of [socket, listener]) program.call("close", [held], { onError: "ignore" });
}

/** struct pollfd, poll(2). */
function pollIn(fd: number): bigint {
  return BigInt(fd) | (1n /* POLLIN */ << 32n);
}

/** struct msghdr with one byte and this control message. sendmsg(2) */
function message(control: Uint8Array): Arg {
  return { words: [0, 0, { words: [new Uint8Array([1]), 1] }, 1, control, CONTROL_BYTES, 0] };
}
