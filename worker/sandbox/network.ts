// [keeper] Network namespaces of steps with the default network, each connected by one pasta(1) or slirp4netns(1).
//
// Starting a helper costs tens of milliseconds, so a namespace is used again for the next step once no process is left in
// it: a step cannot change it (CAP_NET_ADMIN is dropped, /proc/sys is read-only). There are as many as steps ran at the same
// time. Namespaces live as bind mounts in the keeper's mount namespace, helpers in its pid namespace: both end with it.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { isIPv4, Socket } from "node:net";
import { launcherArch } from "../launcher/install.ts";
import { openProgram } from "../launcher/program.ts";
import type { NetworkHelper } from "../keeper/network-helper.ts";
import { AT, close, mknodat, O, openat, pipe2, S } from "../sys/file.ts";
import { MOUNT_ATTR, MOVE_MOUNT, moveMount, UMOUNT, umount2 } from "../sys/mount.ts";
import { detachedTmpfs } from "./launcher-file.ts";
import { loopbackUp } from "./step-program.ts";

export interface StepNetwork {
  /** Descriptor of the namespace, for setns(2); belongs to the pool. */
  readonly fd: number;
  /** The same, as a path in the keeper's mount namespace. */
  readonly path: string;
  /** A name server inside the namespace that asks the host's resolver. */
  readonly resolver: string;
  /** Gives it back once no process is in it. Not reusable: the step had the right to change it. */
  release(reusable: boolean): void;
}

export interface NetworkPool {
  /** A connected namespace nobody else uses; throws when the helper cannot make one, with its words. */
  acquire(): Promise<StepNetwork>;
  /** Starts the first namespace ahead of the step that needs it. */
  prepare(): void;
}

/** Link-local, as podman has it; slirp4netns(1) fixes its own. */
const RESOLVER = { pasta: "169.254.1.1", slirp4netns: "10.0.2.3" } as const;
const START_TIMEOUT_MS = 10_000;
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const CLONE_NEWNET = 0x4000_0000;
const MS_BIND = 0x1000;

interface Connected {
  readonly fd: number;
  readonly path: string;
  readonly helper: ChildProcess;
  ended: boolean;
}

/** A pool that makes namespaces when they are needed. `dir`: a directory of the store, covered by a tmpfs only this process sees. */
export function openNetworkPool(
  helper: Exclude<NetworkHelper, { kind: "none" }>,
  options: { readonly dir: string; readonly launcher: () => string },
): NetworkPool {
  const idle: Connected[] = [];
  let ahead: Promise<Connected> | null = null;
  let placed = false;
  let count = 0;

  const connect = async (): Promise<Connected> => {
    if (!placed) {
      mkdirSync(options.dir, { recursive: true, mode: 0o700 });
      const tmpfs = detachedTmpfs(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC);
      moveMount(tmpfs, "", AT.FDCWD, options.dir, MOVE_MOUNT.F_EMPTY_PATH);
      close(tmpfs);
      placed = true;
    }
    count += 1;
    const path = join(options.dir, `net-${count}`);
    writeFileSync(path, "");
    await makeNamespace(options.launcher(), path);
    try {
      const process = await startHelper(helper, path);
      const connected: Connected = {
        fd: openat(AT.FDCWD, path, O.RDONLY),
        path,
        helper: process,
        ended: false,
      };
      process.once("exit", () => {
        connected.ended = true;
      });
      return connected;
    } catch (error) {
      umount2(path, UMOUNT.DETACH);
      throw error;
    }
  };
  const discard = (connected: Connected): void => {
    connected.helper.kill("SIGKILL");
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
      if (connected === undefined) {
        const started = ahead ?? connect();
        ahead = null;
        connected = await started;
      }
      const taken = connected;
      return {
        fd: taken.fd,
        path: taken.path,
        resolver: RESOLVER[helper.kind],
        release(reusable) {
          if (reusable && !taken.ended) idle.push(taken);
          else discard(taken);
        },
      };
    },
    prepare() {
      if (idle.length > 0 || ahead !== null || count > 0) return;
      ahead = connect();
      ahead.catch(() => {}); // told to the step that takes it
    },
  };
}

/** A new network namespace with loopback up, bound to the file `path`. */
function makeNamespace(launcher: string, path: string): Promise<void> {
  const program = openProgram(launcherArch(), 1);
  program.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  program.call("unshare", [CLONE_NEWNET], { what: "making a network namespace" });
  loopbackUp(program);
  program.call("mount", ["/proc/self/ns/net", path, 0, MS_BIND, 0], { what: "keeping a network namespace" });
  program.call("exit_group", [0]);
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
        new Error(`${record?.what || record?.call || "making a network namespace"} failed (errno ${errnum})`),
      );
    });
  });
}

/** Starts the helper on the namespace at `path`; resolves when the namespace is connected. */
async function startHelper(
  helper: Exclude<NetworkHelper, { kind: "none" }>,
  path: string,
): Promise<ChildProcess> {
  // The helper says so by writing to this pipe: its pid (pasta) or "1" (slirp4netns).
  let ready: number;
  let args: string[];
  const passed: number[] = [];
  if (helper.kind === "pasta") {
    mknodat(AT.FDCWD, `${path}.ready`, S.IFIFO | 0o600); // pasta closes descriptors it does not know
    ready = openat(AT.FDCWD, `${path}.ready`, O.RDONLY | O.NONBLOCK);
    // No way in: neither ports of the step on the host (-t, -u), nor ports of the host's loopback in the step (-T, -U, gateway).
    args = [
      "-f",
      "-q",
      "--netns-only",
      "--config-net",
      "-t",
      "none",
      "-u",
      "none",
      "-T",
      "none",
      "-U",
      "none",
    ];
    args.push(
      "--no-map-gw",
      "--dns-forward",
      RESOLVER.pasta,
      "--runas",
      "0:0",
      "--pid",
      `${path}.ready`,
      "--netns",
      path,
    );
  } else {
    const [readEnd, writeEnd] = pipe2();
    ready = readEnd;
    passed.push(writeEnd);
    args = [
      "--configure",
      "--mtu=65520",
      "--disable-host-loopback",
      "--ready-fd=3",
      "--netns-type=path",
      path,
      "tap0",
    ];
  }
  const child = spawn(helper.file, args, {
    stdio: ["ignore", "ignore", "pipe", ...passed],
    env: {},
    cwd: "/",
  });
  for (const fd of passed) close(fd);
  const said: Buffer[] = [];
  let saidBytes = 0;
  child.stderr?.on("data", (data: Buffer) => {
    saidBytes += data.length;
    if (saidBytes < 4096) said.push(data);
  });
  const pipe = new Socket({ fd: ready, readable: true, writable: false });
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void =>
        reject(
          new Error(`${helper.kind} failed: ${Buffer.concat(said).toString().trim().slice(0, 500) || why}`),
        );
      const timer = setTimeout(() => fail(`not ready within ${START_TIMEOUT_MS / 1000} s`), START_TIMEOUT_MS);
      const settle = (then: () => void): void => {
        clearTimeout(timer);
        then();
      };
      pipe.once("data", () => settle(resolve));
      pipe.once("error", (error) => settle(() => fail(error.message)));
      child.once("error", (error) => settle(() => fail(error.message)));
      child.once("close", (code) => settle(() => fail(`exit code ${code}`)));
    });
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    pipe.destroy();
  }
  return child;
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
  const others = lines.filter((line) => !line.startsWith("nameserver"));
  const servers = lines
    .filter((line) => line.startsWith("nameserver"))
    .map((line) => line.split(/\s+/)[1] ?? "")
    .filter(
      (address) =>
        !address.startsWith("127.") && address !== "::1" && !address.startsWith("fe80:") && !own.has(address),
    );
  const first = servers.findIndex((address) => isIPv4(address));
  servers.splice(first < 0 ? servers.length : first, 1, resolver);
  return `${[...servers.map((address) => `nameserver ${address}`), ...others].join("\n")}\n`;
}
