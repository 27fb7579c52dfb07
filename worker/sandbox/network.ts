// [keeper] Network namespaces of steps with the default network, each connected by one pasta(1) or slirp4netns(1), or by this process
// if neither is available or works (forwarder.ts).
//
// Starting a helper costs tens of milliseconds, so a namespace is reused for the next step once no process is left in
// it: a step cannot change it (CAP_NET_ADMIN is dropped, /proc/sys is read-only). There are as many as steps ran in
// parallel. Namespaces are bind mounts in the keeper's mount namespace, helpers run in its pid namespace: both end with it.

import { spawn } from "node:child_process";
import { existsSync, readSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { isIPv4, Socket } from "node:net";
import type { Readable } from "node:stream";
import { launcherArch } from "../launcher/install.ts";
import { bindNewNetwork, type OwnAddress } from "../launcher/network.ts";
import { openProgram } from "../launcher/program.ts";
import {
  type NetworkFiles,
  type NetworkHelper,
  INTERFACE,
  networkFiles,
  pastaArgs,
  RESOLVER,
} from "../keeper/network-helper.ts";
import { CONFIGURED_DNS } from "../keeper/messages.ts";
import { close, mknodat, openat, pipe2 } from "../sys/file.ts";
import { moveMount, umount2 } from "../sys/mount.ts";
import { type Forwarder, openForwarder, ownAddresses } from "./forwarder.ts";
import { detachedTmpfs } from "./launcher-file.ts";
import { AT, MOUNT_ATTR, MOVE_MOUNT, O, PR, S, SIG, UMOUNT } from "../sys/constants.ts";

export interface StepNetwork {
  /** Descriptor of the namespace, for setns(2); belongs to the pool. */
  readonly fd: number;
  /** The same, as a path in the keeper's mount namespace. */
  readonly path: string;
  /** What is told of the step's calls, where this process is the way out. */
  readonly forwarder: Forwarder | null;
  /** Why it is that; null: it is not. */
  readonly why: string | null;
  /** A name server inside the namespace that asks the host's resolver. */
  readonly resolver: string;
  /** Gives it back once no process is in it. Not reusable: the step had the right to change it. */
  release(reusable: boolean): void;
}

export interface NetworkPool {
  /** A connected namespace nobody else uses; throws in words when not even one without a helper can be made. */
  acquire(): Promise<StepNetwork>;
}

const START_TIMEOUT_MS = 10_000;

interface Helper {
  kill(): void;
  /** Resolves when it is gone. */
  readonly ended: Promise<void>;
}

interface Connected {
  readonly fd: number;
  readonly path: string;
  /** null: it is forwarded by this process. */
  readonly helper: Helper | null;
  readonly forwarder: Forwarder | null;
  readonly resolver: string;
  ended: boolean;
}

/** A pool that makes namespaces when they are needed. `dir`: networkDir of the store. `ahead`: the launcher has started the first
 *  (keeper.ts), whose descriptors are taken here at once: nothing it waits for shall wait for a step. */
export function openNetworkPool(
  helper: NetworkHelper,
  options: { readonly dir: string; readonly launcher: () => string; readonly ahead: boolean },
): NetworkPool {
  const idle: Connected[] = [];
  let placed = false;
  let count = 0;
  /** Why this process forwards; null: the helper does, or nothing was tried yet. */
  let why = helper.kind === "none" ? helper.why : null;

  const connected = (made: Pick<Connected, "helper" | "forwarder" | "resolver">, path: string): Connected => {
    const all: Connected = { ...made, fd: openat(AT.FDCWD, path, O.RDONLY), path, ended: false };
    void made.helper?.ended.then(() => {
      all.ended = true;
    });
    return all;
  };
  const helped = (started: Helper, path: string): Connected =>
    connected(
      { helper: started, forwarder: null, resolver: RESOLVER[helper.kind === "none" ? "own" : helper.kind] },
      path,
    );
  const adopt = async (): Promise<Connected> => {
    const files = networkFiles(options.dir, 1);
    return helped(await adoptHelper(files), files.namespace);
  };
  /** A file for a namespace to be bound to. */
  const place = (): NetworkFiles => {
    if (!placed) {
      const tmpfs = detachedTmpfs(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC);
      moveMount(tmpfs, "", AT.FDCWD, options.dir, MOVE_MOUNT.F_EMPTY_PATH);
      close(tmpfs);
      placed = true;
    }
    count += 1;
    const files = networkFiles(options.dir, count);
    writeFileSync(files.namespace, "");
    return files;
  };
  const connect = async (by: Exclude<NetworkHelper, { kind: "none" }>): Promise<Connected> => {
    const files = place();
    await makeNamespace(options.launcher(), files.namespace);
    try {
      return helped(await startHelper(by, files), files.namespace);
    } catch (error) {
      umount2(files.namespace, UMOUNT.DETACH);
      throw error;
    }
  };
  const forwarded = async (): Promise<Connected> => {
    const path = place().namespace;
    await makeNamespace(options.launcher(), path, ownAddresses());
    const fd = openat(AT.FDCWD, path, O.RDONLY);
    try {
      const forwarder = await openForwarder(options.launcher(), fd);
      return { fd, path, helper: null, forwarder, resolver: RESOLVER.own, ended: false };
    } catch (error) {
      close(fd);
      umount2(path, UMOUNT.DETACH);
      throw error;
    }
  };
  let ahead: Promise<Connected> | null = null;
  if (options.ahead && existsSync(networkFiles(options.dir, 1).words)) {
    placed = true;
    count = 1;
    ahead = adopt();
    ahead.catch(() => {}); // told to the step that takes it
  }
  const fresh = async (): Promise<Connected> => {
    if (why === null && helper.kind !== "none") {
      const started = ahead ?? connect(helper);
      ahead = null;
      try {
        return await started;
      } catch (error) {
        // It fails for the next step as well.
        why = error instanceof Error ? error.message : String(error);
      }
    }
    return await forwarded();
  };
  const discard = (connected: Connected): void => {
    connected.helper?.kill();
    connected.forwarder?.close();
    close(connected.fd);
    umount2(connected.path, UMOUNT.DETACH);
  };

  return {
    async acquire() {
      let connected = idle.pop();
      while (connected?.ended === true) {
        discard(connected);
        connected = idle.pop();
      }
      const taken = connected ?? (await fresh());
      return {
        fd: taken.fd,
        path: taken.path,
        resolver: taken.resolver,
        forwarder: taken.forwarder,
        why: taken.forwarder === null ? null : why,
        release(reusable) {
          if (reusable && !taken.ended) idle.push(taken);
          else discard(taken);
        },
      };
    },
  };
}

/** A new network namespace with loopback up, bound to the file `path`. `own`: as bindNewNetwork takes it. */
function makeNamespace(launcher: string, path: string, own: readonly OwnAddress[] = []): Promise<void> {
  const program = openProgram(launcherArch(), 1);
  program.call("prctl", [PR.SET_PDEATHSIG, SIG.KILL, 0, 0, 0]);
  bindNewNetwork(program, path, own);
  const { bytes, describe } = program.assemble();
  return new Promise((resolve, reject) => {
    const child = spawn(launcher, [], { stdio: ["pipe", "pipe", "ignore"], env: {}, cwd: "/" });
    const said: Buffer[] = [];
    child.stdout.on("data", (data: Buffer) => said.push(data));
    child.stdin.on("error", () => {}); // told by the exit status
    child.stdin.end(bytes);
    child.once("error", reject);
    child.once("close", (code) => {
      if (code === 0) return resolve();
      const failure = Buffer.concat(said);
      const record = failure.length >= 16 ? describe(failure.readBigUInt64LE(0)) : null;
      const errnum = failure.length >= 16 ? -failure.readBigInt64LE(8) : 0n;
      reject(
        new Error(
          `${record?.what || record?.call || "creating a network namespace"} failed (errno ${errnum})`,
        ),
      );
    });
  });
}

/** Takes over the pasta that the launcher started; resolves when its namespace is connected. */
async function adoptHelper(files: NetworkFiles): Promise<Helper> {
  const fd = openat(AT.FDCWD, files.words, O.RDONLY | O.NONBLOCK);
  const first = readPresent(fd);
  if (first?.length === 0) {
    close(fd);
    throw new Error("pasta failed: it ended");
  }
  const words = new Socket({ fd, readable: true, writable: false });
  if (first !== null) words.unshift(first);
  const ended = new Promise<void>((resolve) => words.once("close", () => resolve()));
  // Its standard error is open as long as it lives; an idle one does not hold this process.
  words.unref();
  const pid = await connectedBy("pasta", words, ended, openReady(files));
  return {
    kill: () => {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // it is gone already
      }
    },
    ended,
  };
}

/** What stands in a FIFO; nothing: no writer is left; null: there is one, which has said nothing. */
function readPresent(fifo: number): Buffer | null {
  const buffer = Buffer.alloc(4096);
  try {
    return buffer.subarray(0, readSync(fifo, buffer));
  } catch {
    return null; // EAGAIN
  }
}

/** The FIFO a helper writes to when its namespace is connected. */
function openReady(files: NetworkFiles): number {
  return openat(AT.FDCWD, files.ready, O.RDONLY | O.NONBLOCK);
}

/** Starts the helper on a namespace; resolves when it is connected. */
async function startHelper(
  helper: Exclude<NetworkHelper, { kind: "none" }>,
  files: NetworkFiles,
): Promise<Helper> {
  // The helper says so by writing its pid (pasta) or "1" (slirp4netns).
  let ready: number;
  let args: readonly string[];
  const passed: number[] = [];
  if (helper.kind === "pasta") {
    mknodat(AT.FDCWD, files.ready, S.IFIFO | 0o600); // pasta closes descriptors it does not know
    ready = openReady(files);
    args = pastaArgs(files);
  } else {
    const [readEnd, writeEnd] = pipe2();
    ready = readEnd;
    passed.push(writeEnd);
    const options = ["--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=3"];
    args = [...options, "--netns-type=path", files.namespace, INTERFACE];
  }
  const child = spawn(helper.file, args, {
    stdio: ["ignore", "ignore", "pipe", ...passed],
    env: {},
    cwd: "/",
  });
  for (const fd of passed) close(fd);
  const ended = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  const kill = (): void => void child.kill("SIGKILL");
  try {
    await connectedBy(helper.kind, child.stderr as Readable, ended, ready);
  } catch (error) {
    kill();
    throw error;
  }
  return { kill, ended };
}

/** Waits for what the helper writes to `ready`, a descriptor that is closed here. Throws with the helper's words. */
async function connectedBy(
  name: string,
  words: Readable,
  ended: Promise<void>,
  ready: number,
): Promise<string> {
  const said: Buffer[] = [];
  let saidBytes = 0;
  words.on("data", (data: Buffer) => {
    saidBytes += data.length;
    if (saidBytes < 4096) said.push(data);
  });
  const pipe = new Socket({ fd: ready, readable: true, writable: false });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<string>((resolve, reject) => {
      const fail = (why: string): void =>
        reject(new Error(`${name} failed: ${Buffer.concat(said).toString().trim().slice(0, 500) || why}`));
      timer = setTimeout(() => fail(`not ready within ${START_TIMEOUT_MS / 1000} s`), START_TIMEOUT_MS);
      pipe.once("data", (data) => resolve(data.toString()));
      pipe.once("error", (error) => fail(error.message));
      void ended.then(() => fail("it ended"));
    });
  } finally {
    clearTimeout(timer);
    pipe.destroy();
  }
}

/** resolv.conf for a step in a namespace: the namespace's own resolver stands for the first IPv4 server, to which it forwards, and
 *  for all that only the host can reach. The first itself must not stay: pasta (2023) gives every answer of that server the
 *  resolver's address, also to who asked the server directly, and then the answer is refused. */
export function stepResolvConf(text: string, resolver: string): string {
  const own = new Set(
    Object.values(networkInterfaces()).flatMap((addresses) =>
      (addresses ?? []).map(({ address }) => address),
    ),
  );
  const lines = text.split("\n").filter((line) => line !== "");
  const [first = ""] = lines;
  if (first.startsWith(CONFIGURED_DNS)) return configuredConf(lines, resolver);
  const others = lines.filter((line) => !line.startsWith("nameserver"));
  const servers = lines
    .filter((line) => line.startsWith("nameserver"))
    .map((line) => line.split(/\s+/)[1] ?? "")
    .filter(
      (address) =>
        !address.startsWith("127.") && address !== "::1" && !address.startsWith("fe80:") && !own.has(address),
    );
  const at = servers.findIndex((address) => isIPv4(address));
  servers.splice(at < 0 ? servers.length : at, 1, resolver);
  return `${[...servers.map((address) => `nameserver ${address}`), ...others].join("\n")}\n`;
}

/** The servers of a configuration are asked themselves, but for the one the resolver forwards to. */
function configuredConf([first = "", ...lines]: readonly string[], resolver: string): string {
  const forwarded = `nameserver ${first.slice(CONFIGURED_DNS.length)}`;
  return `${lines.map((line) => (line === forwarded ? `nameserver ${resolver}` : line)).join("\n")}\n`;
}
