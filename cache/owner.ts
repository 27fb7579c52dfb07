// Who owns unfinished work in the store, and whether that process is still alive.
//
// An owner is part of names: <boot>.<pid namespace>.<pid>.<start time>.<random>. Process ids are reused, start times (ticks
// since boot, proc_pid_stat(5) field 22) are not. Inside one pid namespace /proc has the answer. A process of another pid
// namespace (a store shared by containers) cannot be found there; for those every owner listens on a Unix socket
// in the store: connect(2) fails with ECONNREFUSED as soon as the kernel has closed the dead process's descriptors.

import { randomBytes } from "node:crypto";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { errnoOf } from "./disk-fault.ts";

/** This process as owner, and what it knows of others. */
export interface Owner {
  /** Fit for a file name; has no "-". */
  readonly id: string;
  /** Short id of the running kernel's boot: the same until the machine reboots. */
  readonly boot: string;
  /** false only when the process is certainly gone; what is gone stays gone. */
  isAlive(id: string): Promise<boolean>;
  /** Gives back the socket. */
  close(): void;
}

const PATTERN = /^([0-9a-f]{12}(?:\.\d+){3})\.[0-9a-f]+$/;

/** 12 hex digits of /proc/sys/kernel/random/boot_id. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").replaceAll("-", "").slice(0, 12);
}

/** Start time of a process in clock ticks since boot, or null when there is none. A zombie is no process: it owns nothing. */
function startTime(pid: number | "self"): string | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ESRCH") return null;
    throw error;
  }
  // The name in parentheses may hold anything, also ") ": fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
}

let ownName: string | null = null;
/** This process, by a name no other ever has: <boot>.<pid namespace>.<pid>.<start time>. */
export function thisProcess(): string {
  ownName ??= `${bootId()}.${pidNamespace()}.${process.pid}.${startTime("self")}`;
  return ownName;
}

/** The process of a name (or of an owner's id), for the user; null: it is of another pid namespace, or gone. */
export function describeProcess(name: string): { readonly words: string; readonly stopped: boolean } | null {
  const [, , pid = ""] = name.split(".");
  if (hasEnded(name) !== false) return null;
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  const program = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")).replace(/[^\x20-\x7e]/g, "?");
  // proc_pid_stat(5): T stopped by a signal, t by a debugger. Tasks of a frozen cgroup count as sleeping.
  const state = stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  const how = state === "T" || state === "t" ? "stopped" : isFrozen(pid) ? "frozen" : null;
  return {
    words: `process ${pid} (${program})${how === null ? "" : `, which is ${how}`}`,
    stopped: how !== null,
  };
}

/** cgroup-v2.rst, "cgroup.events": frozen 1 also when an ancestor is what was frozen. */
function isFrozen(pid: string): boolean {
  const place = /^0::(\/.*)$/m.exec(readOrEmpty(`/proc/${pid}/cgroup`))?.[1];
  return place !== undefined && /^frozen 1$/m.test(readOrEmpty(`/sys/fs/cgroup${place}/cgroup.events`));
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return ""; // gone meanwhile, or not ours to look at
  }
}

function pidNamespace(): string {
  return readlinkSync("/proc/self/ns/pid").replace(/\D/g, "");
}

/** Whether the process of that name is gone; null: it is of another pid namespace, where it cannot be looked for. */
export function hasEnded(name: string): boolean | null {
  const [boot, namespace, pid, start] = name.split(".");
  const [ownBoot, ownNamespace] = thisProcess().split(".");
  if (boot !== ownBoot) return true;
  return namespace === ownNamespace ? startTime(Number(pid)) !== start : null;
}

/** Makes this process known in `dir` (which exists). */
export function openOwner(dir: string): Owner {
  const [boot = ""] = thisProcess().split(".");
  // Random at the end: one store may be open several times in a process, and each time closes for itself.
  const id = `${thisProcess()}.${randomBytes(4).toString("hex")}`;
  const server = listen(dir, id);

  async function isAlive(other: string): Promise<boolean> {
    if (other === id) return true;
    const name = PATTERN.exec(other)?.[1];
    if (name === undefined) return false;
    const ended = hasEnded(name);
    return ended === null ? answers(dir, other) : !ended;
  }

  function close(): void {
    server.close();
    rmSync(join(dir, socketName(id)), { force: true });
  }
  return { id, boot, isAlive, close };
}

/** bind(2) takes 107 bytes; a path through an open descriptor is short however deep the store lies. */
function throughDescriptor<T>(dir: string, work: (short: string) => T): T {
  const descriptor = openSync(dir, "r");
  try {
    return work(`/proc/self/fd/${descriptor}`);
  } finally {
    closeSync(descriptor);
  }
}

const socketName = (id: string) => `${id}.sock`;

function listen(dir: string, id: string): Server {
  // Node binds and listens within the call; only the event comes later. Without a socket (a file system that has none) only
  // processes of other pid namespaces err, so failure is no reason to stop.
  return throughDescriptor(dir, (short) => {
    const server = createServer((peer) => peer.destroy());
    server.on("error", () => undefined);
    server.listen(join(short, socketName(id)));
    server.unref();
    return server;
  });
}

function answers(dir: string, id: string): Promise<boolean> {
  const descriptor = openSync(dir, "r");
  return new Promise<boolean>((resolve) => {
    const peer = connect(`/proc/self/fd/${descriptor}/${socketName(id)}`);
    const settle = (alive: boolean) => {
      peer.destroy();
      closeSync(descriptor);
      resolve(alive);
    };
    peer.once("connect", () => settle(true));
    // ENOENT: it closed in good order. Anything but these two is no proof.
    peer.once("error", (error) => {
      const errno = errnoOf(error);
      settle(errno !== "ECONNREFUSED" && errno !== "ENOENT");
    });
  });
}

/** Removes sockets and lease files of dead owners in `dir`. */
export async function sweepOwners(dir: string, owner: Owner): Promise<void> {
  for (const name of readdirSync(dir)) {
    const id = name.replace(/\.(sock|leases)$/, "");
    if (!(await owner.isAlive(id))) rmSync(join(dir, name), { recursive: true, force: true });
  }
}
