// [keeper] The built-in sandbox: mounts are made here as detached mounts, the rest is a program for the launcher.

import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { dirname } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { launcherArch } from "../launcher/install.ts";
import type { ExecJob, ExecJobMount, ExecOutcome } from "../keeper/messages.ts";
import { AT, close, O, pipe2 } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { OPEN_TREE, openTree, overlayMount } from "../sys/mount.ts";
import { launcherInMemory } from "./launcher-file.ts";
import { mountSource, scratchDir, uniqueDirs } from "./mount-sources.ts";
import { type NetworkPool, type StepNetwork, stepResolvConf } from "./network.ts";
import { KILLED, outcomeOf } from "./outcome.ts";
import { hostsFile, rlimitNumber, rlimitValue, stepEnvironment } from "./rootfs.ts";
import { seccompFilter } from "./seccomp.ts";
import { STEP_FD, STEP_MOUNT_POINTS, STEP_STATUS, stepProgram, type StepMount } from "./step-program.ts";
import { noteStubs } from "./stubs.ts";
import { resolveTarget } from "./targets.ts";
import { openTerminal, type Terminal } from "./terminal.ts";
import { resolveUser } from "./user.ts";
import { dropUnchangedDirs } from "./unchanged-dirs.ts";
import { stackOf } from "../ops/stack.ts";

export interface RunningExec {
  readonly outcome: Promise<ExecOutcome>;
  kill(signal: number): void;
  stdin(data: Uint8Array | null): void;
  resize(rows: number, columns: number): void;
}
/** Takes output of a step; reading goes on when the promise resolves, so that memory does not grow with it (E8). */
export type OutputSink = (fd: 1 | 2, data: Uint8Array) => Promise<void> | void;

export interface Sandbox {
  /** Starts a step. `outcome` settles when it, its output and its clean-up are through. Throws nothing itself. */
  exec(job: ExecJob, onOutput: OutputSink): RunningExec;
}
export interface SandboxOptions {
  readonly singleId: boolean;
  /** Networks for steps that ask for "sandbox"; null: they get the host's. */
  readonly network: NetworkPool | null;
  /** Path of the launcher, see launcherInMemory. */
  readonly launcher: () => string;
}

/** Once all processes of a step are gone its pipes are at their end, unless one was handed to a process of another step
 *  (over a socket in a shared cache mount). That must not hold the build (E6). */
const DRAIN_MS = 2_000;
const { SIGINT, SIGKILL, SIGTERM } = os.signals;

/** The sandbox of this keeper process. */
export function openSandbox(options: SandboxOptions): Sandbox {
  const maskedDirs = cpuThrottleDirs();
  return {
    exec(job, onOutput) {
      const step: Step = {
        job,
        onOutput,
        options,
        maskedDirs,
        held: [],
        pid: null,
        networkNote: null,
        ended: false,
        terminal: null,
        stdin: null,
        input: [],
      };
      return {
        outcome: run(step),
        kill(signal) {
          // To the group: a shell is PID 1 and deaf to TERM, what it runs is not. KILL on PID 1 ends all of the namespace.
          if (step.pid !== null) killQuietly(signal === SIGKILL ? step.pid : -step.pid, signal);
          else if (signal === SIGKILL || signal === SIGTERM || signal === SIGINT) step.ended = true;
        },
        stdin(data) {
          if (step.terminal !== null) {
            if (data !== null) step.terminal.write(data);
          } else if (step.stdin === null) step.input.push(data);
          else feed(step.stdin, data);
        },
        resize(rows, columns) {
          step.terminal?.resize(rows, columns);
        },
      };
    },
  };
}

/** The launcher for `openSandbox`, made when first asked for. */
export function lazyLauncher(): () => string {
  let path: string | null = null;
  return () => {
    path ??= launcherInMemory();
    return path;
  };
}

interface Step {
  readonly job: ExecJob;
  readonly onOutput: OutputSink;
  readonly options: SandboxOptions;
  readonly maskedDirs: readonly string[];
  /** What is given back at the end, last first, whatever happens. */
  readonly held: (() => void)[];
  pid: number | null;
  networkNote: string | null; // why the network is another than the one asked for
  ended: boolean; // told to end before there was a process, which then has nothing to tidy up
  terminal: Terminal | null;
  stdin: Socket | null;
  readonly input: (Uint8Array | null)[]; // what came before the process; null: the end
}

function killQuietly(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // gone already is what was wanted
  }
}

function feed(stdin: Socket, data: Uint8Array | null): void {
  if (data === null) stdin.end();
  else stdin.write(data);
}

/** Temperature statistics of each CPU, which Docker masks as well: they tell steps about each other. */
function cpuThrottleDirs(): string[] {
  const cpus = "/sys/devices/system/cpu";
  try {
    return readdirSync(cpus)
      .filter((name) => /^cpu\d+$/.test(name))
      .filter((name) => readdirSync(`${cpus}/${name}`).includes("thermal_throttle"))
      .map((name) => `${cpus}/${name}/thermal_throttle`);
  } catch {
    return []; // no sysfs, or not readable: nothing to mask
  }
}

async function run(step: Step): Promise<ExecOutcome> {
  const { job } = step;
  try {
    const storeDir = dirname(dirname(dirname(job.rootfs.upper)));
    const network = await joinNetwork(step);
    const { upper, work } = job.rootfs;
    const lowers = stackOf(uniqueDirs(job.rootfs.dirs));
    const targets: string[] = STEP_MOUNT_POINTS.map(({ path }) => path);
    // Released last: the overlay must not be mounted when its upper directory is touched.
    if (lowers.length > 0) step.held.push(() => dropUnchangedDirs(upper, lowers, targets));
    const rootFd = overlayMount({
      lowers,
      upper,
      work,
      userxattr: true,
      volatile: true,
    });
    step.held.push(() => close(rootFd));
    const user = resolveUser(rootFd, job.user);
    const mounts: PreparedMount[] = [];
    for (const mount of job.mounts) {
      const source = await mountSource(mount, { storeDir, onEnd: (release) => step.held.push(release) });
      mounts.push({ target: resolveTarget(rootFd, mount.target), readonly: isReadonly(mount), source });
    }
    for (const device of job.devices) mounts.push(deviceMount(device, step));
    const own = STEP_MOUNT_POINTS.map(({ path, isFile }) => ({
      path: isFile ? resolveTarget(rootFd, path) : path,
      isFile,
    }));
    const asked = mounts.map(({ target, source }) => ({ path: target, isFile: isFileSource(source) }));
    targets.push(...asked.map(({ path }) => path));
    // A read-only root is no output: its upper directory is thrown away with the stubs in it.
    const stubs = noteStubs(rootFd, job.rootfs.readonly ? [] : [...own, ...asked]);
    step.held.push(() => stubs.clear());
    return await launch(step, {
      rootFd,
      user,
      mounts,
      storeDir,
      network,
      fileTargets: own.filter(({ isFile }) => isFile),
    });
  } finally {
    releaseAll(step.held);
  }
}

/** Runs every release even when one fails, then throws the first failure. */
function releaseAll(held: (() => void)[]): void {
  const failures: unknown[] = [];
  for (let release = held.pop(); release !== undefined; release = held.pop()) {
    try {
      release();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

async function joinNetwork(step: Step): Promise<StepNetwork | null> {
  const pool = step.options.network;
  if (step.job.network !== "sandbox" || pool === null) return null;
  let network: StepNetwork;
  try {
    network = await pool.acquire();
  } catch (error) {
    // As without a helper: the host's network, and the outcome says so.
    step.networkNote = `the step used the host's network: ${error instanceof Error ? error.message : String(error)}`;
    return null;
  }
  step.held.push(() => network.release(step.job.security === "sandbox"));
  return network;
}

interface PreparedMount {
  readonly target: string;
  readonly readonly: boolean;
  readonly source: StepMount["source"]; // descriptors are this process's
}

function isFileSource(source: StepMount["source"]): boolean {
  return source.kind === "data" || (source.kind === "fd" && source.isFile);
}

function isReadonly(mount: ExecJobMount): boolean {
  if ("readonly" in mount) return mount.readonly;
  return mount.kind === "secret";
}

/** A device of the host at the same path. Its mount is read-only: that does not touch reading and writing the device. */
function deviceMount(path: string, step: Step): PreparedMount {
  try {
    const fd = openTree(AT.FDCWD, path, OPEN_TREE.CLONE);
    step.held.push(() => close(fd));
    return { target: path, readonly: true, source: { kind: "fd", fd, isFile: true } };
  } catch (error) {
    if (!isSysError(error, "ENOENT", "ENOTDIR")) throw error;
    throw new BuildError("MOUNT_INVALID", `the device ${path} does not exist on this machine`, {
      cause: error,
    });
  }
}

interface Prepared {
  readonly rootFd: number;
  readonly user: ReturnType<typeof resolveUser>;
  readonly mounts: readonly PreparedMount[];
  readonly storeDir: string;
  readonly network: StepNetwork | null;
  readonly fileTargets: readonly { readonly path: string }[];
}

async function launch(step: Step, prepared: Prepared): Promise<ExecOutcome> {
  const { job } = step;
  if (step.ended) return KILLED;
  if (job.tty !== null) {
    const terminal = openTerminal(job.tty.rows, job.tty.columns);
    step.terminal = terminal;
    step.held.push(() => {
      step.terminal = null;
      terminal.close();
    });
  }
  // Descriptors of the launcher from aliveRead on; the ends that are only for it are closed once it has them.
  const passed: number[] = [];
  const given: number[] = [];
  const pass = (fd: number): number => {
    passed.push(fd);
    return STEP_FD.aliveRead + passed.length - 1;
  };
  const pipe = (flags = 0): [number, number] => {
    const ends = pipe2(flags);
    given.push(...ends);
    return ends;
  };
  const keep = (fd: number): number => {
    given.splice(given.indexOf(fd), 1);
    return fd;
  };
  let child: ChildProcess;
  let plan: ReturnType<typeof stepProgram>;
  let outputs: [out: number, err: number];
  try {
    const alive = pipe(O.NONBLOCK);
    pass(alive[0]);
    pass(alive[1]);
    const [outRead, outWrite] = pipe();
    const [errRead, errWrite] = pipe();
    const input = job.stdin && step.terminal === null ? pipe() : null;
    plan = planOf(step, prepared, pass, input?.[0] ?? null);
    child = spawn(step.options.launcher(), [], {
      stdio: ["pipe", outWrite, errWrite, "pipe", ...passed],
      env: {},
      cwd: "/",
    });
    outputs = [keep(outRead), keep(errRead)];
    if (input !== null) {
      const stdin = new Socket({ fd: keep(input[1]), readable: false, writable: true });
      stdin.on("error", () => {}); // the command closed its input: its business
      step.held.push(() => {
        step.stdin = null;
        stdin.destroy();
      });
      for (const data of step.input.splice(0)) feed(stdin, data);
      step.stdin = stdin;
    }
  } finally {
    for (const fd of given) close(fd);
  }
  const drains = [drain(outputs[0], 1, step.onOutput), drain(outputs[1], 2, step.onOutput)];
  step.terminal?.start((data) => step.onOutput(1, data));
  child.stdin?.on("error", () => {}); // told by the exit status
  child.stdin?.end(plan.bytes);
  let status: Awaited<ReturnType<typeof readStatus>>;
  try {
    status = await readStatus(child, step);
  } finally {
    await Promise.all(drains.map((one) => one.finish()));
  }
  await step.terminal?.finish(DRAIN_MS);
  const outcome = outcomeOf(status, plan.describe, job, step.options.singleId);
  return step.networkNote === null ? outcome : { ...outcome, networkNote: step.networkNote };
}

function planOf(
  step: Step,
  prepared: Prepared,
  pass: (fd: number) => number,
  stdin: number | null,
): ReturnType<typeof stepProgram> {
  const { job, options } = step;
  const { network, user } = prepared;
  const insecure = job.security === "insecure";
  const [resolvConfPath = "/etc/resolv.conf", hostsPath = "/etc/hosts"] = prepared.fileTargets.map(
    ({ path }) => path,
  );
  return stepProgram({
    arch: launcherArch(),
    scratchDir: scratchDir(prepared.storeDir),
    rootFd: pass(prepared.rootFd),
    rootReadonly: job.rootfs.readonly,
    args: job.args,
    env: stepEnvironment(job.env, user.home, step.terminal !== null),
    cwd: job.cwd === "" ? "/" : job.cwd,
    uid: user.uid,
    gid: user.gid,
    groups: user.groups,
    hostname: job.hostname,
    hosts: { path: hostsPath, text: hostsFile(job.hostname, job.extraHosts) },
    resolvConf: {
      path: resolvConfPath,
      text: network === null ? job.resolvConf : stepResolvConf(job.resolvConf, network.resolver),
    },
    network:
      network !== null
        ? { kind: "join", fd: pass(network.fd) }
        : { kind: job.network === "none" ? "none" : "host" },
    mounts: prepared.mounts.map((mount) =>
      mount.source.kind === "fd"
        ? { ...mount, source: { ...mount.source, fd: pass(mount.source.fd) } }
        : mount,
    ),
    maskedDirs: step.maskedDirs,
    rlimits: job.rlimits.map((limit) => {
      const resource = rlimitNumber(limit.name);
      if (resource === null) throw new BuildError("USAGE", `unknown ulimit "${limit.name}"`);
      return { name: limit.name, resource, soft: rlimitValue(limit.soft), hard: rlimitValue(limit.hard) };
    }),
    insecure,
    seccomp: insecure ? null : seccompFilter(launcherArch()),
    stdinFd: stdin === null ? null : pass(stdin),
    ttyFd: step.terminal === null ? null : pass(step.terminal.slave),
    consoleFd: step.terminal === null || step.terminal.mount === null ? null : pass(step.terminal.mount),
    singleId: options.singleId,
  });
}

/** Reads one stream of the step. A pipe of the kernel's, so that /dev/stdout can be opened inside. */
function drain(fd: number, stream: 1 | 2, onOutput: OutputSink): { finish(): Promise<void> } {
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.on("data", (data) => {
    const wait = onOutput(stream, data);
    if (wait === undefined) return;
    socket.pause();
    wait.then(
      () => socket.resume(),
      () => socket.destroy(), // nobody takes it any more
    );
  });
  socket.on("error", () => {}); // ends with "close" all the same
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return {
    async finish() {
      const timer = setTimeout(() => socket.destroy(), DRAIN_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** All that the launcher said, once it is gone. */
function readStatus(child: ChildProcess, step: Step): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const pipe = child.stdio[3] as Socket;
    let told = false;
    pipe.on("data", (data: Buffer) => {
      chunks.push(data);
      if (told) return;
      const bytes = Buffer.concat(chunks);
      if (bytes.length < 16 || bytes.readBigUInt64LE(0) !== STEP_STATUS.pid) return;
      told = true;
      step.pid = Number(bytes.readBigUInt64LE(8));
      if (step.ended) killQuietly(step.pid, SIGKILL);
    });
    pipe.on("error", () => {}); // what was read until then counts
    child.once("error", (cause) => {
      reject(
        new BuildError("SANDBOX_UNAVAILABLE", `the launcher of the step did not start: ${cause.message}`, {
          cause,
        }),
      );
    });
    child.once("close", () => {
      step.pid = null;
      resolve(Buffer.concat(chunks));
    });
  });
}
