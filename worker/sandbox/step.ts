// [keeper] What all sandboxes share around a step: network, root file system, user, sources of mounts,
// temporary mount points, output and input, signals, and releasing all of it.

import { readdirSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { dirname, join } from "node:path";
import { idMapKind, GIDS, UIDS } from "../../cache/layers/ids.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecJob, ExecJobMount, ExecOutcome, OtherNetwork } from "../keeper/messages.ts";
import { close, openat } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { openTree, overlayMount } from "../sys/mount.ts";
import { devicesOf, lowersOf, mountSource } from "./mount-sources.ts";
import type { NetworkPool, StepNetwork } from "./network.ts";
import { KILLED } from "./outcome.ts";
import { STEP_MOUNT_POINTS, type StepMount } from "./step-program.ts";
import { makeStubs } from "./stubs.ts";
import { resolveTarget } from "./targets.ts";
import { openTerminal, type Terminal } from "./terminal.ts";
import { dropFewUnchanged } from "../ops/unchanged.ts";
import { dropUnchangedDirs } from "./unchanged-dirs.ts";
import { type ExecUser, resolveUser } from "./user.ts";
import { AT, O, OPEN_TREE } from "../sys/constants.ts";

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
  /** Networks for steps that ask for "sandbox"; null: they get the host's, for the reason `noNetwork`. */
  readonly network: NetworkPool | null;
  readonly noNetwork: string;
  /** Path of the launcher, see launcherInMemory. */
  readonly launcher: () => string;
}

/** Starts the process of a prepared step and waits for its end and that of its output. */
export type Launch = (step: Step, prepared: PreparedStep) => Promise<ExecOutcome>;

/** Once all processes of a step are gone its pipes are at their end, unless one was handed to a process of another step
 *  (over a socket in a shared cache mount). That must not hold the build (E6). */
export const DRAIN_MS = 2_000;
const { SIGINT, SIGKILL, SIGTERM } = os.signals;

/** A sandbox whose steps are prepared here and started by `launch`. */
export function openStepSandbox(options: SandboxOptions, launch: Launch): Sandbox {
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
        otherNetwork: null,
        ended: false,
        onEnded() {},
        terminal: null,
        stdin: null,
        input: [],
      };
      return {
        outcome: run(step, launch),
        kill(signal) {
          // To the group: a shell is PID 1 and deaf to TERM, what it runs is not. KILL on PID 1 ends all of the namespace.
          if (step.pid !== null) killQuietly(signal === SIGKILL ? step.pid : -step.pid, signal);
          else if (signal === SIGKILL || signal === SIGTERM || signal === SIGINT) {
            step.ended = true;
            step.onEnded();
          }
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

export interface Step {
  readonly job: ExecJob;
  readonly onOutput: OutputSink;
  readonly options: SandboxOptions;
  readonly maskedDirs: readonly string[];
  /** What is given back at the end, last first, whatever happens. */
  readonly held: (() => void)[];
  pid: number | null;
  otherNetwork: OtherNetwork | null;
  ended: boolean; // told to end before there was a process, which then has nothing to tidy up
  /** Called when that happens. */
  onEnded: () => void;
  terminal: Terminal | null;
  stdin: Socket | null;
  readonly input: (Uint8Array | null)[]; // what came before the process; null: the end
}

/** Sends a signal to a process or (negative) a group that may be gone already. */
export function killQuietly(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // gone already is what was wanted
  }
}

/** Gives input to a command; null: its end. */
export function feed(stdin: Socket, data: Uint8Array | null): void {
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

/** How much of an upper directory is compared here, before a thread is asked to (ops/unchanged.ts): some 3 ms. */
const UNCHANGED_NAMES = 200;
const UNCHANGED_BYTES = 1 << 20;

async function run(step: Step, launch: Launch): Promise<ExecOutcome> {
  const outcome = await runMounted(step, launch);
  const { upper, dirs } = step.job.rootfs;
  const budget = { names: UNCHANGED_NAMES, bytes: UNCHANGED_BYTES };
  return {
    ...outcome,
    ...(step.otherNetwork === null ? {} : { otherNetwork: step.otherNetwork }),
    // Of a step that failed nothing is kept.
    ...(outcome.code !== null && dropFewUnchanged(upper, dirs, budget) ? { unchangedDropped: true } : {}),
  };
}

/** Mounts what the step sees, runs it, and takes all of it away again. */
async function runMounted(step: Step, launch: Launch): Promise<ExecOutcome> {
  const { job } = step;
  try {
    const storeDir = dirname(dirname(dirname(job.rootfs.upper)));
    const network = await joinNetwork(step);
    const { upper, work } = job.rootfs;
    const lowers = lowersOf(job.rootfs.dirs, storeDir);
    const targets: string[] = STEP_MOUNT_POINTS.map(({ path }) => path);
    // Released last: the overlay must not be mounted when its upper directory is touched.
    step.held.push(() => dropUnchangedDirs(upper, lowers, targets));
    const rootFd = overlayMount({
      lowers,
      upper,
      work,
      userxattr: true,
      volatile: true,
    });
    step.held.push(() => close(rootFd));
    const user = resolveUser(rootFd, job.user);
    refuseStandIn(user);
    const mounts: PreparedMount[] = [];
    for (const mount of job.mounts) {
      const source = await mountSource(mount, { storeDir, onEnd: (release) => step.held.push(release) });
      mounts.push({ target: resolveTarget(rootFd, mount.target), readonly: isReadonly(mount), source });
    }
    for (const device of devicesOf(job)) mounts.push(deviceMount(device, step));
    const own = STEP_MOUNT_POINTS.map(({ path, isFile }) => ({
      path: isFile ? resolveTarget(rootFd, path) : path,
      isFile,
    }));
    const asked = mounts.map(({ target, source }) => ({ path: target, isFile: isFileSource(source) }));
    targets.push(...asked.map(({ path }) => path));
    // A read-only root is no output: its upper directory is thrown away with the stubs in it.
    const stubs = makeStubs(rootFd, job.rootfs.readonly ? [] : [...own, ...asked]);
    step.held.push(() => stubs.clear());
    if (step.ended) return KILLED;
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

/** The owner that stands for others in layers is nobody's to be (threat model T8). */
function refuseStandIn({ uid, gid, groups }: ExecUser): void {
  if (idMapKind() !== "mapped") return;
  const found = uid === UIDS.standIn ? uid : [gid, ...groups].find((id) => id === GIDS.standIn);
  if (found === undefined) return;
  throw new BuildError(
    "USER_UNKNOWN",
    `the step cannot run with the id ${found}: it is the last id of this user, reserved for owners outside the range`,
    { hint: "use a smaller id, or give the user more subordinate ids (/etc/subuid, /etc/subgid)" },
  );
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
  if (step.job.network !== "sandbox") return null;
  if (pool === null) {
    step.otherNetwork = { kind: "host", why: step.options.noNetwork };
    return null;
  }
  let network: StepNetwork;
  try {
    network = await pool.acquire();
  } catch (error) {
    // The host's network, as a builder without namespaces would give it; the outcome says so.
    step.otherNetwork = { kind: "host", why: error instanceof Error ? error.message : String(error) };
    return null;
  }
  if (network.why !== null) step.otherNetwork = { kind: "forwarded", why: network.why };
  step.held.push(() => network.release(step.job.security === "sandbox"));
  return network;
}

export interface PreparedMount {
  readonly target: string;
  readonly readonly: boolean;
  readonly source: StepMount["source"]; // descriptors are this process's
}

export function isFileSource(source: StepMount["source"]): boolean {
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

export interface PreparedStep {
  readonly rootFd: number;
  readonly user: ReturnType<typeof resolveUser>;
  readonly mounts: readonly PreparedMount[];
  readonly storeDir: string;
  readonly network: StepNetwork | null;
  readonly fileTargets: readonly { readonly path: string }[];
}

/** Where a process that writes "0" becomes one of the cgroup. */
export function openCgroup(step: Step, dir: string): number {
  const fd = openat(AT.FDCWD, join(dir, "cgroup.procs"), O.WRONLY);
  step.held.push(() => close(fd));
  return fd;
}

/** The terminal of a step that wants one. */
export function openStepTerminal(step: Step): void {
  const { tty } = step.job;
  if (tty === null) return;
  const terminal = openTerminal(tty.rows, tty.columns);
  step.terminal = terminal;
  step.held.push(() => {
    step.terminal = null;
    terminal.close();
  });
}

/** The launcher, which each sandbox starts, could not be. */
export function launcherError(cause: Error): BuildError {
  return new BuildError("SANDBOX_UNAVAILABLE", `the launcher of the step did not start: ${cause.message}`, {
    cause,
  });
}

/** Reads one stream of the step. A pipe of the kernel's, so that /dev/stdout can be opened inside. */
export function drain(fd: number, stream: 1 | 2, onOutput: OutputSink): { finish(): Promise<void> } {
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
