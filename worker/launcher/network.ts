// Records that make a network namespace: for the keeper's start, for the pool of namespaces and for steps without a network.

import type { Program } from "./program.ts";

const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 0x1000;
/** A descriptor number nothing else of a program has. */
const SOCKET_FD = 399;

/** Ends the program in a new network namespace with loopback up, which stays where it is bound to the file `path`. */
export function bindNewNetwork(program: Program, path: string): void {
  program.call("unshare", [CLONE_NEWNET], { what: "making a network namespace" });
  loopbackUp(program);
  program.call("mount", ["/proc/self/ns/net", path, 0, MS_BIND, 0], { what: "keeping a network namespace" });
  program.call("exit_group", [0]);
}

/** Brings up lo in the network namespace the program is in. */
export function loopbackUp(program: Program): void {
  // struct ifreq: name "lo", flags IFF_UP | IFF_RUNNING; netdevice(7).
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode("lo"));
  new DataView(request.buffer).setUint16(16, 0x41, true);
  program.open(SOCKET_FD, "socket", [2 /* AF_INET */, 2 /* SOCK_DGRAM */, 0]);
  program.call("ioctl", [SOCKET_FD, 0x8914 /* SIOCSIFFLAGS */, request], { what: "bringing up loopback" });
  program.call("close", [SOCKET_FD]);
}
