// [keeper] Connects a step's network namespace to the outside if there is neither pasta nor slirp4netns, or no /dev/net/tun.
//
// In the namespace every address is local (launcher/network.ts), so nothing that a step sends leaves it. Before a connection is made
// the keeper is notified of the destination (seccomp-notify.ts). It opens a listening socket there, inside the
// namespace, connects to the real destination, and lets the call continue once that has responded; then it forwards the bytes. The call
// could continue with a different address than the one that was read: nothing would be listening there. No socket of the host's network
// ever enters the step.
//
// Supported: TCP, connected or addressed UDP (connect, sendto), and DNS through its own server. Not supported: ICMP, raw sockets,
// UDP with sendmsg to many addresses, incoming connections.

import { createSocket, type Socket as Datagrams } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect, createServer, isIP, type Server, type Socket } from "node:net";
import { constants as os, networkInterfaces } from "node:os";
import { pipeline } from "node:stream";
import type { OwnAddress } from "../launcher/network.ts";
import { getxattr } from "../sys/file.ts";
import { errnumOf } from "../sys/libc.ts";
import { RESOLVER } from "../keeper/network-helper.ts";
import type { Answer, ToldCall } from "./notify.ts";
import { addressBytes, AF, type Destination, isInside, parseSockaddr, sockaddr } from "./socket-address.ts";
import { makeSocket, SOCK } from "./sockets.ts";

export interface Forwarder {
  /** Answers connect(2) and sendto(2) of the step. */
  answer(call: ToldCall, signal: AbortSignal): Promise<Answer>;
  close(): void;
}

/** The step's own addresses. */
const OWN = { ipv4: "10.0.2.100", ipv6: "fd00:a:2::100" } as const;
/** How long connect(2) of a socket that does not block waits for the true answer. After that it is told that it is connected, and
 *  a failure comes as a reset. */
const PATIENCE_MS = 250;
/** A connection that was made and that nobody came for. */
const UNCLAIMED_MS = 10_000;
/** A datagram's way back is kept this long after the last one; NAT of routers does the same (RFC 4787, REQ-5). */
const DATAGRAMS_IDLE_MS = 120_000;
/** Of one destination at the same time; the one longest without use goes. */
const DATAGRAM_CLIENTS_MAX = 512;
/** Sockets of one namespace on this side, so that a step cannot take all of the keeper's descriptors (E9). */
const OPEN_MAX = 1024;
const DNS_PORT = 53;

/** Addresses of a namespace that is forwarded. IPv6 only where the host has it, so that nobody waits for it in vain. */
export function ownAddresses(): OwnAddress[] {
  const hasIpv6 = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .some(({ family, internal, address }) => family === "IPv6" && !internal && !address.startsWith("fe80:"));
  return [OWN.ipv4, ...(hasIpv6 ? [OWN.ipv6] : [])].map((address) => ({
    family: address === OWN.ipv4 ? AF.ipv4 : AF.ipv6,
    bytes: addressBytes(address),
  }));
}

interface Listener {
  /** Connections to the destination that have been made and not yet been asked for. */
  readonly ready: Socket[];
}

export async function openForwarder(launcher: string, namespaceFd: number): Promise<Forwarder> {
  const listeners = new Map<string, Promise<Listener>>();
  const datagrams = new Map<string, Promise<void>>();
  const open = new Set<Socket | Server | Datagrams>();
  const track = <T extends Socket | Server | Datagrams>(one: T): T => {
    open.add(one);
    one.once("close", () => open.delete(one));
    return one;
  };

  const dial = (to: Destination): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = track(connect({ host: to.address, port: to.port, allowHalfOpen: true }));
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        socket.on("error", () => {}); // told by its close
        resolve(socket);
      });
    });
  const join = (inside: Socket, outside: Socket): void => {
    for (const [from, to] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      pipeline(from, to, (error) => {
        if (error === undefined || error === null) return;
        inside.resetAndDestroy();
        outside.resetAndDestroy();
      });
    }
  };
  const listen = async (at: Destination, to: Destination): Promise<Listener> => {
    const listener: Listener = { ready: [] };
    const fd = await makeSocket(launcher, {
      network: { fd: namespaceFd },
      family: AF[at.family],
      type: SOCK.STREAM,
      protocol: 0,
      address: sockaddr(at),
      listen: true,
    });
    const server = track(createServer({ allowHalfOpen: true }));
    server.on("error", () => {}); // accept(2) out of descriptors: the step's connection waits
    server.on("connection", (inside) => {
      track(inside);
      inside.on("error", () => {}); // told to the other side by pipeline
      const outside = listener.ready.shift();
      if (outside !== undefined && !outside.destroyed) return join(inside, outside);
      dial(to).then(
        (socket) => join(inside, socket),
        () => inside.resetAndDestroy(),
      );
    });
    server.listen({ fd });
    return listener;
  };
  const listenerOf = (at: Destination): Promise<Listener> => once(listeners, at, () => listen(at, at));

  const relay = async (at: Destination, to: Destination): Promise<void> => {
    const fd = await makeSocket(launcher, {
      network: { fd: namespaceFd },
      family: AF[at.family],
      type: SOCK.DGRAM,
      protocol: 0,
      address: sockaddr(at),
    });
    const inside = track(createSocket(at.family === "ipv4" ? "udp4" : "udp6"));
    const ways = new Map<string, Way>();
    inside.on("error", () => {}); // of one datagram
    inside.on("message", (data, from) => {
      const name = `${from.address} ${from.port}`;
      let found = ways.get(name);
      if (found === undefined) {
        const outside = track(createSocket(to.family === "ipv4" ? "udp4" : "udp6"));
        const back = (answer: Uint8Array): void => {
          if (open.has(inside)) inside.send(answer, from.port, from.address);
        };
        found = way(outside, to, back, () => ways.delete(name));
        if (ways.size === DATAGRAM_CLIENTS_MAX) ways.values().next().value?.close();
      }
      // The one used last stands last.
      ways.delete(name);
      ways.set(name, found);
      found.send(data);
    });
    inside.bind({ fd });
  };

  const resolver = { family: "ipv4", address: RESOLVER.own, port: DNS_PORT } as const;
  const server = hostResolver();
  await Promise.all([
    once(listeners, resolver, () => listen(resolver, server)),
    once(datagrams, resolver, () => relay(resolver, server)),
  ]);

  const connectTcp = async (to: Destination, blocks: boolean, signal: AbortSignal): Promise<Answer> => {
    if (open.size >= OPEN_MAX) return { kind: "error", errnum: os.errno.EADDRNOTAVAIL };
    const outcome = await outcomeOf(dial(to), blocks, signal);
    if (outcome.kind === "failed")
      return { kind: "error", errnum: errnumOf(outcome.code) || os.errno.ECONNREFUSED };
    const listener = await listenerOf(to);
    void outcome.socket.then(
      (socket) => {
        listener.ready.push(socket);
        const timer = setTimeout(() => {
          const index = listener.ready.indexOf(socket);
          if (index >= 0) listener.ready.splice(index, 1)[0]?.destroy();
        }, UNCLAIMED_MS);
        timer.unref();
      },
      () => {}, // the connection inside is made and asks again
    );
    return { kind: "continue" };
  };

  return {
    async answer(call, signal) {
      const [fd = -1] = call.args;
      const [address = 0, length = 0] = call.call === "sendto" ? call.args.slice(4) : call.args.slice(1);
      const to = parseSockaddr(call.memory(address, Math.min(length, 28)));
      if (to === null || isInside(to) || to.address === RESOLVER.own || isOwn(to))
        return { kind: "continue" };
      const kind = socketKind(call, fd);
      if (kind === "tcp" && call.call === "connect") return connectTcp(to, blocks(call, fd), signal);
      if (kind === "udp" && to.port !== 0 && open.size < OPEN_MAX)
        await once(datagrams, to, () => relay(to, to));
      return { kind: "continue" };
    },
    close() {
      for (const one of open) {
        if ("destroy" in one) one.destroy();
        else one.close();
      }
    },
  };
}

/** One for each destination, however many ask; a failure is not kept. */
function once<T>(map: Map<string, Promise<T>>, at: Destination, make: () => Promise<T>): Promise<T> {
  const name = `${at.address} ${at.port}`;
  let made = map.get(name);
  if (made === undefined) {
    made = make();
    map.set(name, made);
    made.catch(() => map.delete(name));
  }
  return made;
}

function isOwn({ address }: Destination): boolean {
  return address === OWN.ipv4 || address === OWN.ipv6;
}

type DialOutcome =
  | { readonly kind: "failed"; readonly code: string }
  | { readonly kind: "going"; readonly socket: Promise<Socket> };

/** Waits for a dial: until it is through, or for a moment only. */
async function outcomeOf(
  dialing: Promise<Socket>,
  blocks: boolean,
  signal: AbortSignal,
): Promise<DialOutcome> {
  const going: DialOutcome = { kind: "going", socket: dialing };
  const through = dialing.then(
    (): DialOutcome => going,
    (error: NodeJS.ErrnoException): DialOutcome => ({ kind: "failed", code: error.code ?? "" }),
  );
  let timer: NodeJS.Timeout | undefined;
  let stop: () => void = () => {};
  const given = new Promise<DialOutcome>((resolve) => {
    stop = () => resolve(going);
    if (!blocks) timer = setTimeout(stop, PATIENCE_MS);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([through, given]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

interface Way {
  send(data: Uint8Array): void;
  close(): void;
}

/** The way of one sender's datagrams to a destination and back. */
function way(outside: Datagrams, to: Destination, back: (data: Uint8Array) => void, ended: () => void): Way {
  const idle = setTimeout(() => outside.close(), DATAGRAMS_IDLE_MS);
  idle.unref();
  outside.once("close", () => {
    clearTimeout(idle);
    ended();
  });
  outside.on("error", () => {}); // of one datagram
  outside.on("message", (data) => {
    idle.refresh();
    back(data);
  });
  // Connected, so that nobody else's datagrams come back. What cannot be sent is lost, as datagrams are.
  let waiting: Uint8Array[] | null = [];
  let isOpen = true;
  outside.once("close", () => {
    isOpen = false;
  });
  outside.once("connect", () => {
    for (const data of waiting ?? []) outside.send(data);
    waiting = null;
  });
  outside.connect(to.port, to.address);
  return {
    send(data) {
      idle.refresh();
      if (waiting !== null) waiting.push(data);
      else if (isOpen) outside.send(data);
    },
    close() {
      if (isOpen) outside.close();
    },
  };
}

/** What kind of socket a descriptor of the caller is. sockfs tells the name of the protocol as an attribute (net/socket.c). */
function socketKind(call: ToldCall, fd: number): "tcp" | "udp" | null {
  const name = getxattr(`${call.proc}/fd/${fd}`, "system.sockprotoname")?.toString("latin1") ?? "";
  return /^(?:MP)?TCP/.test(name) ? "tcp" : /^UDP/.test(name) ? "udp" : null;
}

/** Has the caller's socket O_NONBLOCK off? proc_pid_fdinfo(5) */
function blocks(call: ToldCall, fd: number): boolean {
  const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`${call.proc}/fdinfo/${fd}`, "latin1"))?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & 0o4000) === 0;
}

/** The host's own name server, which may be one on its loopback. resolv.conf(5): without one it is that. */
function hostResolver(): Destination {
  let text = "";
  try {
    text = readFileSync("/etc/resolv.conf", "latin1");
  } catch {
    // no file: as if it were empty
  }
  const address =
    [...text.matchAll(/^nameserver\s+(\S+)/gm)]
      .map((match) => match[1] ?? "")
      .find((one) => isIP(one) !== 0) ?? "127.0.0.1";
  return { family: isIP(address) === 4 ? "ipv4" : "ipv6", address, port: DNS_PORT };
}
