// [keeper] The built-in sandbox: mounts are made here as detached mounts, the rest is a program for the launcher.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { dirname, join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { installLauncher, launcherArch } from "../keeper/keeper.ts";
import type { ExecJob, ExecJobMount, ExecOutcome } from "../keeper/messages.ts";
import { AT, close, fchmod, fchownat, fstat, O, openat, openat2, pipe2, RESOLVE, S } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { MOVE_MOUNT, moveMount, OPEN_TREE, openTree, overlayMount, UMOUNT, umount2 } from "../sys/mount.ts";
import { hostsFile, rlimitNumber, rlimitValue, stepEnvironment } from "./rootfs.ts";
import { seccompFilter } from "./seccomp.ts";
import { RUSAGE_BYTES, STEP_FD, STEP_MOUNT_POINTS, STEP_STATUS, stepProgram, type StepMount } from "./step-program.ts";
import { noteStubs } from "./stubs.ts";
import { openTerminal, type Terminal } from "./terminal.ts";
import { resolveUser } from "./user.ts";

export interface RunningExec {
  readonly outcome: Promise<ExecOutcome>;
  kill(signal: number): void;
  stdin(data: Uint8Array | null): void;
  resize(rows: number, columns: number): void;
}
export interface ExecOptions {
  readonly singleId: boolean;
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
}

/** Starts a step. `outcome` settles when it, its output and its clean-up are through. Throws nothing itself. */
export function runExec(job: ExecJob, options: ExecOptions): RunningExec {
  const control: Control = { pid: null, killed: null, child: null, terminal: null, input: [], inputEnded: false, stdin: null };
  return {
    outcome: start(job, options, control),
    kill(signal) {
      control.killed = signal;
      if (control.pid !== null) killQuietly(control.pid, signal);
      else if (signal === os.signals.SIGKILL) control.child?.kill("SIGKILL");
    },
    stdin(data) {
      if (control.terminal !== null) {
        if (data !== null) control.terminal.write(data);
      } else if (control.stdin !== null) {
        if (data === null) control.stdin.end();
        else control.stdin.write(data);
      } else if (data === null) control.inputEnded = true;
      else control.input.push(data);
    },
    resize(rows, columns) {
      control.terminal?.resize(rows, columns);
    },
  };
}

interface Control {
  pid: number | null;
  killed: number | null;
  child: ChildProcess | null;
  terminal: Terminal | null;
  stdin: Socket | null;
  readonly input: Uint8Array[];
  inputEnded: boolean;
}

function killQuietly(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // gone already is what was wanted
  }
}

async function start(job: ExecJob, options: ExecOptions, control: Control): Promise<ExecOutcome> {
  const held: number[] = []; // descriptors closed at the end, whatever happens
  const hold = (fd: number): number => {
    held.push(fd);
    return fd;
  };
  const storeDir = dirname(dirname(dirname(job.rootfs.upper)));
  try {
    const rootFd = hold(overlayMount({ lowers: job.rootfs.dirs, upper: job.rootfs.upper, work: job.rootfs.work, userxattr: true, volatile: true }));
    const user = resolveUser(rootFd, job.user);
    const sources = job.mounts.map((mount) => ({ mount, source: mountSource(mount, hold, storeDir) }));
    const stubs = noteStubs(rootFd, [
      ...STEP_MOUNT_POINTS,
      ...sources.map(({ mount, source }) => ({
        path: mount.target,
        isFile: source.kind === "data" || (source.kind === "fd" && source.isFile),
      })),
    ]);
    try {
      if (job.tty !== null) control.terminal = openTerminal(job.tty.rows, job.tty.columns);
      const outcome = await launch(job, options, control, { rootFd, user, sources, storeDir });
      return outcome;
    } finally {
      stubs.clear();
      control.terminal?.close();
    }
  } finally {
    for (const fd of held.reverse()) close(fd);
  }
}

/** The source of a mount as a detached mount; trees are stacked, parts of them cloned. */
function mountSource(mount: ExecJobMount, hold: (fd: number) => number, storeDir: string): StepMount["source"] {
  switch (mount.kind) {
    case "tmpfs":
      return { kind: "tmpfs", sizeBytes: mount.sizeBytes };
    case "secret":
      return { kind: "data", data: mount.data, uid: mount.uid, gid: mount.gid, mode: mount.mode };
    case "ssh": {
      const fd = hold(openTree(AT.FDCWD, mount.socket, OPEN_TREE.CLONE));
      return { kind: "fd", fd, isFile: true };
    }
    case "directory": {
      const path = hold(openat(AT.FDCWD, mount.path, O.PATH));
      const isFile = (fstat(path).mode & S.IFMT) !== S.IFDIR;
      if (isFile && !mount.fileAllowed) throw new BuildError("MOUNT_INVALID", `the source of the mount at ${mount.target} is not a directory`);
      if (mount.owner !== null) {
        const dir = openat(AT.FDCWD, mount.path, O.RDONLY | O.DIRECTORY);
        try {
          fchownat(dir, "", mount.owner.uid, mount.owner.gid, AT.EMPTY_PATH);
          fchmod(dir, mount.owner.mode);
        } finally {
          close(dir);
        }
      }
      return { kind: "fd", fd: hold(openTree(path, "", OPEN_TREE.CLONE | AT.EMPTY_PATH | AT.RECURSIVE)), isFile };
    }
    case "tree": {
      if (mount.dirs.length === 0 && mount.upper === null) return { kind: "tmpfs", sizeBytes: null };
      const tree = hold(
        mount.upper === null || mount.work === null
          ? overlayMount({ lowers: mount.dirs, userxattr: true })
          : overlayMount({ lowers: mount.dirs, upper: mount.upper, work: mount.work, userxattr: true, volatile: true }),
      );
      const selector = mount.selector.replace(/^\/+|\/+$/g, "");
      if (selector === "" || selector === ".") return { kind: "fd", fd: tree, isFile: false };
      let part: number;
      try {
        part = hold(openat2(tree, selector, { flags: O.PATH | O.CLOEXEC, mode: 0, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS }));
      } catch (error) {
        if (isSysError(error, "ENOENT", "ENOTDIR")) {
          throw new BuildError("CONTEXT_PATH_MISSING", `failed to calculate checksum of ref: "/${selector}": not found`, {
            hint: `the source of RUN --mount for ${mount.target} does not exist`,
          });
        }
        throw error;
      }
      const isFile = (fstat(part).mode & S.IFMT) !== S.IFDIR;
      return { kind: "fd", fd: hold(clonePart(tree, part, selector, storeDir)), isFile };
    }
  }
}

/** A detached mount of a part of a detached mount. Before Linux 6.15 the whole must have a place for that moment. */
function clonePart(tree: number, part: number, selector: string, storeDir: string): number {
  try {
    return openTree(part, "", OPEN_TREE.CLONE | AT.EMPTY_PATH);
  } catch (error) {
    if (!isSysError(error, "EINVAL")) throw error;
  }
  const place = scratchDir(storeDir);
  const whole = openTree(tree, "", AT.EMPTY_PATH);
  try {
    moveMount(whole, "", AT.FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH);
    const root = openat(AT.FDCWD, place, O.PATH | O.DIRECTORY);
    try {
      const inside = openat2(root, selector, { flags: O.PATH | O.CLOEXEC, mode: 0, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
      try {
        return openTree(inside, "", OPEN_TREE.CLONE | AT.EMPTY_PATH);
      } finally {
        close(inside);
      }
    } finally {
      close(root);
      umount2(place, UMOUNT.DETACH);
    }
  } finally {
    close(whole);
  }
}

function scratchDir(storeDir: string): string {
  const dir = join(storeDir, "bin", "root");
  if (!existsSync(dir)) mkdirSync(dir, { recursive: true, mode: 0o700 });
  return dir;
}

interface Prepared {
  readonly rootFd: number;
  readonly user: ReturnType<typeof resolveUser>;
  readonly sources: readonly { readonly mount: ExecJobMount; readonly source: StepMount["source"] }[];
  readonly storeDir: string;
}

async function launch(job: ExecJob, options: ExecOptions, control: Control, prepared: Prepared): Promise<ExecOutcome> {
  const passed: number[] = [prepared.rootFd];
  const pass = (fd: number): number => {
    passed.push(fd);
    return STEP_FD.first + passed.length - 1;
  };
  const mounts = prepared.sources.map(({ mount, source }): StepMount => ({
    target: mount.target,
    readonly: "readonly" in mount ? mount.readonly : false,
    source: source.kind === "fd" ? { ...source, fd: pass(source.fd) } : source,
  }));
  const [outRead, outWrite] = pipe2();
  const [errRead, errWrite] = pipe2();
  const input = job.stdin && control.terminal === null ? pipe2() : null;
  const plan = stepProgram({
    arch: launcherArch(),
    scratchDir: scratchDir(prepared.storeDir),
    rootFd: STEP_FD.first,
    rootReadonly: job.rootfs.readonly,
    args: job.args,
    env: stepEnvironment(job.env, prepared.user.home, control.terminal !== null),
    cwd: job.cwd === "" ? "/" : job.cwd,
    uid: prepared.user.uid,
    gid: prepared.user.gid,
    groups: prepared.user.groups,
    hostname: job.hostname,
    hosts: hostsFile(job.hostname, job.extraHosts),
    resolvConf: job.resolvConf,
    network: job.network === "none" ? { kind: "none" } : { kind: "host" },
    mounts,
    rlimits: job.rlimits.map((limit) => {
      const resource = rlimitNumber(limit.name);
      if (resource === null) throw new BuildError("USAGE", `unknown ulimit "${limit.name}"`);
      return { resource, soft: rlimitValue(limit.soft), hard: rlimitValue(limit.hard) };
    }),
    insecure: job.security === "insecure",
    seccomp: job.security === "insecure" ? null : seccompFilter(launcherArch()),
    stdinFd: input === null ? null : pass(input[0]),
    ttyFd: control.terminal === null ? null : pass(control.terminal.slave),
    singleId: options.singleId,
  });

  const child = spawn(installLauncher(join(prepared.storeDir, "bin")), [], {
    stdio: ["pipe", outWrite, errWrite, "pipe", ...passed],
    env: {},
    cwd: "/",
  });
  control.child = child;
  close(outWrite);
  close(errWrite);
  if (input !== null) {
    close(input[0]);
    control.stdin = new Socket({ fd: input[1], readable: false, writable: true });
    control.stdin.on("error", () => {}); // the command closed its input: its business
    for (const chunk of control.input.splice(0)) control.stdin.write(chunk);
    if (control.inputEnded) control.stdin.end();
  }
  const output = Promise.all([drain(outRead, 1, options.onOutput), drain(errRead, 2, options.onOutput)]);
  control.terminal?.start((data) => options.onOutput(1, data));
  child.stdin?.on("error", () => {}); // told by the exit status
  child.stdin?.end(plan.bytes);

  const status = await readStatus(child, (pid) => {
    control.pid = pid;
    if (control.killed !== null) killQuietly(pid, control.killed);
  });
  control.stdin?.destroy();
  await output;
  return outcomeOf(status, plan.describe, job, options.singleId);
}

/** Reads one stream of the step to its end. A pipe of the kernel's, so that /dev/stdout can be opened inside. */
function drain(fd: number, stream: 1 | 2, onOutput: ExecOptions["onOutput"]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.on("data", (data) => onOutput(stream, data));
    socket.on("error", reject);
    socket.on("close", () => resolve());
  });
}

/** All that the launcher said, once it is gone. */
function readStatus(child: ChildProcess, onPid: (pid: number) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let told = false;
    const pipe = child.stdio[3] as Socket;
    pipe.on("data", (data: Buffer) => {
      chunks.push(data);
      if (told) return;
      const bytes = Buffer.concat(chunks);
      if (bytes.length >= 16 && bytes.readBigUInt64LE(0) === STEP_STATUS.pid) {
        told = true;
        onPid(Number(bytes.readBigUInt64LE(8)));
      }
    });
    pipe.on("error", () => {}); // what was read until then counts
    child.once("error", reject);
    child.once("close", () => resolve(Buffer.concat(chunks)));
  });
}

function outcomeOf(
  status: Buffer,
  describe: ReturnType<typeof stepProgram>["describe"],
  job: ExecJob,
  singleId: boolean,
): ExecOutcome {
  let outcome: ExecOutcome | null = null;
  let failure: BuildError | null = null;
  for (let at = 0; at + 16 <= status.length; at += 16) {
    const kind = status.readBigUInt64LE(at);
    if (kind === STEP_STATUS.exit) {
      const raw = Number(status.readBigUInt64LE(at + 8) & 0xffff_ffffn);
      const usage = status.subarray(at + 16, at + 16 + RUSAGE_BYTES);
      at += RUSAGE_BYTES;
      const signal = raw & 0x7f;
      outcome = {
        code: signal === 0 ? (raw >> 8) & 0xff : null,
        signal: signal === 0 ? null : signal,
        cpuMs: usage.length < RUSAGE_BYTES ? 0 : [0, 16].reduce((sum, field) => sum + Number(usage.readBigInt64LE(field)) * 1000 + Number(usage.readBigInt64LE(field + 8)) / 1000, 0),
        peakBytes: usage.length < RUSAGE_BYTES ? 0 : Number(usage.readBigInt64LE(32)) * 1024,
      };
    } else if (kind === STEP_STATUS.execFailed) {
      failure ??= execError(Number(-status.readBigInt64LE(at + 8)), job);
    } else if (kind !== STEP_STATUS.pid) {
      failure ??= setupError(describe(kind), Number(-status.readBigInt64LE(at + 8)), singleId);
    }
  }
  if (failure !== null) throw failure;
  if (outcome === null) {
    // Killed before it could tell (a cancel): the launcher took the step with it.
    return { code: null, signal: os.signals.SIGKILL, cpuMs: 0, peakBytes: 0 };
  }
  return outcome;
}

function errnoName(number: number): string {
  return Object.entries(os.errno).find(([, value]) => value === number)?.[0] ?? `errno ${number}`;
}

function execError(errno: number, job: ExecJob): BuildError {
  const name = job.args[0] ?? "";
  if (errno === os.errno.ENOENT && !name.includes("/")) {
    return new BuildError("EXEC_FAILED", `exec: "${name}": executable file not found in $PATH`, { exitCode: 127 });
  }
  const words =
    errno === os.errno.ENOENT ? "no such file or directory"
    : errno === os.errno.EACCES ? "permission denied"
    : errno === os.errno.ENOEXEC ? "exec format error"
    : errnoName(errno);
  return new BuildError("EXEC_FAILED", `exec: "${name}": ${words}`, {
    exitCode: errno === os.errno.ENOENT ? 127 : 126,
    hint:
      errno === os.errno.ENOEXEC
        ? "a script needs a first line such as #!/bin/sh; a program must be for this machine's architecture"
        : errno === os.errno.ENOENT && name.includes("/")
          ? `is ${name} in the image, and the interpreter or dynamic loader it names?`
          : null,
  });
}

function setupError(record: { call: string; what: string } | null, errno: number, singleId: boolean): BuildError {
  const what = record?.what === undefined || record.what === "" ? (record?.call ?? "a system call") : record.what;
  const ids = /^(becoming|owner|setting the groups)/.test(what);
  return new BuildError("SANDBOX_UNAVAILABLE", `${what} failed: ${errnoName(errno)}`, {
    hint: ids && singleId ? "this needs subordinate ids: apt-get install uidmap, and entries for you in /etc/subuid and /etc/subgid" : null,
  });
}
