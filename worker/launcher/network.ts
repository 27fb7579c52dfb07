// Records that create a network namespace: for the keeper's start, for the pool of namespaces and for steps without a network.

import type { Program } from "./program.ts";
import { STEP_FD } from "./step-fd.ts";
import { CLONE, MS } from "../sys/constants.ts";

/** Ends the program in a new network namespace with loopback up, which stays where it is bound to the file `path`. `own`: addresses of
 *  which it answers all (answerEverything). */
export function bindNewNetwork(program: Program, path: string, own: readonly OwnAddress[] = []): void {
  program.call("unshare", [CLONE.NEWNET], { what: "creating a network namespace" });
  loopbackUp(program);
  if (own.length > 0) answerEverything(program, own);
  program.call("mount", ["/proc/self/ns/net", path, 0, MS.BIND, 0], {
    what: "holding a network namespace open",
  });
  program.call("exit_group", [0]);
}

/** Brings up lo in the network namespace the program is in. */
export function loopbackUp(program: Program): void {
  // struct ifreq: name "lo", flags IFF_UP | IFF_RUNNING; netdevice(7).
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode("lo"));
  new DataView(request.buffer).setUint16(16, 0x41, true);
  program.open(STEP_FD.socket, "socket", [2 /* AF_INET */, 2 /* SOCK_DGRAM */, 0]);
  program.call("ioctl", [STEP_FD.socket, 0x8914 /* SIOCSIFFLAGS */, request], {
    what: "bringing up loopback",
  });
  program.call("close", [STEP_FD.socket]);
}

/** An address of the namespace itself, which connections seem to come from. */
export interface OwnAddress {
  readonly family: 2 | 10; // AF_INET, AF_INET6
  readonly bytes: Uint8Array;
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const RTM = { NEWADDR: 20, NEWROUTE: 24 } as const;
const NLM_F = { REQUEST: 1, CREATE: 0x400 } as const;
const IFA = { ADDRESS: 1, LOCAL: 2 } as const;
const RTA = { OIF: 4, PREFSRC: 7 } as const;
const LOOPBACK_INDEX = 1;

/** Makes every address of the families of `own` one of this namespace ("AnyIP": `ip route add local default dev lo`). rtnetlink(7) */
function answerEverything(program: Program, own: readonly OwnAddress[]): void {
  const kernel = new Uint8Array(12); // struct sockaddr_nl
  kernel[0] = AF_NETLINK;
  program.open(STEP_FD.socket, "socket", [AF_NETLINK, SOCK_RAW, 0]);
  for (const { family, bytes } of own) {
    // struct ifaddrmsg: family, prefix length, IFA_F_NODAD, scope, index
    const address = [family, bytes.length * 8, 2, 0, LOOPBACK_INDEX, 0, 0, 0];
    // struct rtmsg: family, lengths of destination and source, tos, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL, flags
    const route = [family, 0, 0, 0, 255, 4, 254, 2, 0, 0, 0, 0];
    const index = new Uint8Array([LOOPBACK_INDEX, 0, 0, 0]);
    for (const message of [
      netlink(RTM.NEWADDR, address, [
        [IFA.LOCAL, bytes],
        [IFA.ADDRESS, bytes],
      ]),
      netlink(RTM.NEWROUTE, route, [
        [RTA.OIF, index],
        [RTA.PREFSRC, bytes],
      ]),
    ]) {
      program.call("sendto", [STEP_FD.socket, message, message.length, 0, kernel, kernel.length], {
        what: "adding routes to a network namespace",
      });
    }
  }
  program.call("close", [STEP_FD.socket]);
}

/** struct nlmsghdr, the message, and attributes as struct rtattr. netlink(7) */
function netlink(
  type: number,
  body: readonly number[],
  attributes: readonly (readonly [type: number, value: Uint8Array])[],
): Uint8Array {
  const size = 16 + body.length + attributes.reduce((sum, [, value]) => sum + 4 + value.length, 0);
  const message = new Uint8Array(size);
  const view = new DataView(message.buffer);
  view.setUint32(0, size, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F.REQUEST | NLM_F.CREATE, true);
  message.set(body, 16);
  let at = 16 + body.length;
  for (const [name, value] of attributes) {
    view.setUint16(at, 4 + value.length, true);
    view.setUint16(at + 2, name, true);
    message.set(value, at + 4);
    at += 4 + value.length;
  }
  return message;
}
