// Descriptors of other processes, and pairs of sockets.

import { bind, bindSyscall, check } from "./libc.ts";

const cSocketpair = bind("socketpair", "int", ["int", "int", "int", "ptr"]);
// Newer than the oldest C library; the same numbers everywhere.
const cPidfdOpen = bindSyscall(434, ["int", "int"]);
const cPidfdGetfd = bindSyscall(438, ["int", "int", "int"]);

const [AF_UNIX, SOCK_SEQPACKET, SOCK_CLOEXEC] = [1, 5, 0o2000000];

/** socketpair(2) of AF_UNIX that keeps messages apart; close-on-exec. */
export function socketpair(): [number, number] {
  const ends = Buffer.alloc(8);
  check("socketpair", cSocketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
  return [ends.readInt32LE(0), ends.readInt32LE(4)];
}

/** pidfd_open(2), since Linux 5.3; close-on-exec. */
export function pidfdOpen(pid: number): number {
  return check("pidfd_open", cPidfdOpen(pid, 0));
}

/** pidfd_getfd(2), since Linux 5.6: a copy of descriptor `fd` of that process; close-on-exec. */
export function pidfdGetfd(pidfd: number, fd: number): number {
  return check("pidfd_getfd", cPidfdGetfd(pidfd, fd, 0));
}
