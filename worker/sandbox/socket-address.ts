// The kernel's struct sockaddr for IPv4 and IPv6, and classification of addresses. ip(7), ipv6(7)

import { BlockList, isIPv4 } from "node:net";

export interface Destination {
  readonly family: "ipv4" | "ipv6";
  readonly address: string;
  readonly port: number;
}

export const AF = { ipv4: 2, ipv6: 10 } as const;

/** null: of another family, or cut short. An IPv4 address in IPv6 form is one of IPv4 to the kernel. */
export function parseSockaddr(bytes: Buffer): Destination | null {
  if (bytes.length < 8) return null;
  const family = bytes.readUInt16LE(0);
  const port = bytes.readUInt16BE(2);
  if (family === AF.ipv4) return { family: "ipv4", address: bytes.subarray(4, 8).join("."), port };
  if (family !== AF.ipv6 || bytes.length < 24) return null;
  const address = bytes.subarray(8, 24);
  if (address.readBigUInt64BE(0) === 0n && address.readUInt32BE(8) === 0xffff)
    return { family: "ipv4", address: address.subarray(12).join("."), port };
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16));
  return { family: "ipv6", address: groups.join(":"), port };
}

export function addressBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split(".").map(Number));
  const [head = "", tail] = address.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const all = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

/** struct sockaddr_in or sockaddr_in6. */
export function sockaddr({ family, address, port }: Destination): Uint8Array {
  const bytes = Buffer.alloc(family === "ipv4" ? 16 : 28);
  bytes.writeUInt16LE(AF[family], 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(addressBytes(address), family === "ipv4" ? 4 : 8);
  return bytes;
}

const INSIDE = new BlockList();
INSIDE.addSubnet("0.0.0.0", 8, "ipv4");
INSIDE.addSubnet("127.0.0.0", 8, "ipv4");
INSIDE.addSubnet("224.0.0.0", 3, "ipv4"); // multicast, reserved, broadcast
INSIDE.addAddress("::", "ipv6");
INSIDE.addAddress("::1", "ipv6");
INSIDE.addSubnet("fe80::", 10, "ipv6");
INSIDE.addSubnet("ff00::", 8, "ipv6");

/** Does the address mean something else in each network, as loopback does? The host's must not be reached by it (E10). */
export function isInside({ address, family }: Destination): boolean {
  return INSIDE.check(address, family);
}
