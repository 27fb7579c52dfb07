// [keeper] Sockets in a step's network namespace. A Node thread that entered it could not return (setns(2): this process has no
// privileges in the machine's network namespace), so a launcher enters, and passes the socket back.

import { spawn } from "node:child_process";
import { constants as os } from "node:os";
import { launcherArch } from "../launcher/install.ts";
import { openProgram } from "../launcher/program.ts";
import { SysError } from "../sys/libc.ts";
import { close } from "../sys/file.ts";
import { pidfdGetfd, pidfdOpen } from "../sys/process.ts";
import type { Answer, ToldCall } from "./notify.ts";
import { CLONE, PR, SIG } from "../sys/constants.ts";

const [NAMESPACE_FD, PIDFD_FD, SOCKET_FD] = [3, 11, 12];
const [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK] = [1, 2, 10, 16];
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, SEQPACKET: 5, MASK: 0xf, CLOEXEC: 0o2000000 } as const;

export interface SocketWish {
  /** Where: a namespace's descriptor, that of a process, or this process's own. */
  readonly network: { readonly fd: number } | { readonly pid: number } | null;
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
  /** struct sockaddr to be bound to. */
  readonly address?: Uint8Array;
  readonly listen?: boolean;
}

/** A new socket, close-on-exec here. Throws SysError. */
export function makeSocket(launcher: string, wish: SocketWish): Promise<number> {
  const program = openProgram(launcherArch(), 1);
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  const { network } = wish;
  if (network !== null) {
    if ("pid" in network) program.open(PIDFD_FD, "pidfd_open", [network.pid, 0]);
    program.call("setns", ["pid" in network ? PIDFD_FD : NAMESPACE_FD, CLONE.NEWNET]);
  }
  program.open(SOCKET_FD, "socket", [wish.family, wish.type, wish.protocol]);
  if (wish.address !== undefined) {
    // To an address that routes alone make one of this namespace (ip(7), IP_FREEBIND; ipv6(7)).
    const [level, option] = wish.family === AF_INET6 ? [41, 78] : [0, 15];
    program.call("setsockopt", [SOCKET_FD, level, option, new Uint8Array([1, 0, 0, 0]), 4]);
    program.call("bind", [SOCKET_FD, wish.address, wish.address.length]);
  }
  if (wish.listen === true) program.call("listen", [SOCKET_FD, 128]);
  program.call("write", [1, "s", 1]);
  program.call("read", [0, new Uint8Array(8), 1]); // until it has been taken
  program.call("exit_group", [0]);
  const { bytes, describe } = program.assemble();
  const own = network !== null && "fd" in network ? [network.fd] : [];
  return new Promise((resolve, reject) => {
    const child = spawn(launcher, [], { stdio: ["pipe", "pipe", "ignore", ...own], env: {}, cwd: "/" });
    const said: Buffer[] = [];
    let taken: number | null = null;
    child.stdin?.on("error", () => {}); // told by what it said
    child.stdin?.write(bytes);
    child.stdout?.on("data", (data: Buffer) => {
      said.push(data);
      if (data.length !== 1 || child.pid === undefined) return;
      try {
        taken = descriptorOf(child.pid);
      } catch (error) {
        reject(error as Error);
      }
      child.stdin?.end();
    });
    child.once("error", reject);
    child.once("close", () => {
      if (taken !== null) return resolve(taken);
      const failure = Buffer.concat(said);
      const errnum = failure.length >= 16 ? Number(-failure.readBigInt64LE(8)) : os.errno.EPERM;
      const record = failure.length >= 16 ? describe(failure.readBigUInt64LE(0)) : null;
      reject(new SysError(record?.call ?? "socket", errnum, ""));
    });
  });
}

function descriptorOf(pid: number): number {
  const pidfd = pidfdOpen(pid);
  try {
    return pidfdGetfd(pidfd, SOCKET_FD);
  } finally {
    close(pidfd);
  }
}

/** Pairs of family and type a 32-bit program gets by socketcall(2): what any user has without rights, since the socket is made
 *  with root's. That leaves out AF_ALG and AF_VSOCK, as seccomp.ts does, and what CAP_NET_RAW is for. Of netlink(7) it is routing
 *  only, which C libraries ask for addresses; both types are one there. */
const GIVEN: Readonly<Record<number, readonly number[]>> = {
  [AF_UNIX]: [SOCK.STREAM, SOCK.DGRAM, SOCK.SEQPACKET],
  [AF_INET]: [SOCK.STREAM, SOCK.DGRAM],
  [AF_INET6]: [SOCK.STREAM, SOCK.DGRAM],
  [AF_NETLINK]: [SOCK.RAW, SOCK.DGRAM],
};
const [IPPROTO_TCP, IPPROTO_UDP] = [6, 17];

/** Answers socket(2) by socketcall(2). `hostNetwork`: the step is in this process's network. */
export async function answerSocket(launcher: string, call: ToldCall, hostNetwork: boolean): Promise<Answer> {
  const [family, type, protocol] = call.args;
  if (family === undefined || type === undefined || protocol === undefined)
    return { kind: "error", errnum: os.errno.EFAULT };
  const isGiven = GIVEN[family]?.includes(type & SOCK.MASK) === true;
  // Of AF_INET that leaves out ping sockets: whom the kernel gives those is asked of the group of who makes them.
  const isUsual = protocol === 0 || (family !== AF_NETLINK && [IPPROTO_TCP, IPPROTO_UDP].includes(protocol));
  if (!isGiven || !isUsual) return { kind: "error", errnum: os.errno.EPERM };
  const network = hostNetwork ? null : { pid: call.pid };
  const fd = await makeSocket(launcher, { network, family, type, protocol });
  return { kind: "descriptor", fd, closeOnExec: (type & SOCK.CLOEXEC) !== 0 };
}
