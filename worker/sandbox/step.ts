// [keeper] What all sandboxes share around a step: network, root file system, user, sources of mounts,
// temporary mount points, output and input, signals, and releasing all of it.

import { readdirSync } from "node:fs";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { dirname, join } from "node:path";
import { idMapKind, GIDS, UIDS } from "../../cache/layers/ids.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type {
  ContainerJob,
  ExecJob,
  ExecJobMount,
  ExecOutcome,
  OtherNetwork,
  ProcessJob,
} from "../keeper/messages.ts";
import { close, openat } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { openTree, overlayMount } from "../sys/mount.ts";
import { devicesOf, lowersOf, type MountSourceContext, mountSource } from "./mount-sources.ts";
import type { NetworkPool, StepNetwork } from "./network.ts";
import { KILLED } from "./outcome.ts";
import { STEP_MOUNT_POINTS, type StepMount } from "./step-plan.ts";
import { makeStubs } from "./stubs.ts";
import { resolveTarget } from "./targets.ts";
import { openTerminal, type Terminal, withinMs } from "./terminal.ts";
import { dropFewUnchanged } from "../ops/unchanged.ts";
import { dropUnchangedDirs } from "./unchanged-dirs.ts";
import { type ExecUser, resolveUser } from "./user.ts";
import { AT, O, OPEN_TREE } from "../sys/constants.ts";

export interface RunningExec {
  readonly outcome: Promise<ExecOutcome>;
  kill(signal: number): void;
  /** `onTaken`: called when the command has it, or nobody will. */
  stdin(data: Uint8Array | null, onTaken?: () => void): void;
  resize(rows: number, columns: number): void;
}
/** Takes output of a step; reading goes on when the promise resolves, so that memory does not grow with it (E8). */
export type OutputSink = (fd: 1 | 2, data: Uint8Array) => Promise<void> | void;

export interface Sandbox {
  /** Starts a step. `outcome` settles when it, its output and its clean-up are through. Throws nothing itself. */
  exec(job: ExecJob, onOutput: OutputSink): RunningExec;
  /** Mounts what the processes of a container see. Throws as a step does. */
  open(job: ContainerJob): Promise<OpenContainer>;
}

/** The file systems of a container, and its processes. The first is what keeps its namespaces: all others end with it. */
export interface OpenContainer {
  /** Starts a process. A signal before it has become its command is kept until then. */
  exec(job: ProcessJob, onOutput: OutputSink): RunningExec;
  /** A descriptor of a mount (null: the root) for the caller to close. Throws MOUNT_INVALID. */
  root(mount: number | null): number;
  /** Once all processes have ended. */
  close(): void;
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
/** The same for a process that joins one that runs. */
export type Join = (step: Step, joined: JoinedStep) => Promise<ExecOutcome>;

/** Once all processes of a step are gone its pipes are at their end, unless one was handed to a process of another step
 *  (over a socket in a shared cache mount). That must not hold the build (E6). */
export const DRAIN_MS = 2_000;
const { SIGINT, SIGKILL, SIGTERM } = os.signals;

/** A sandbox whose steps are prepared here and started by `launch`. `open`: how it makes containers. */
export function openStepSandbox(options: SandboxOptions, launch: Launch, open: Sandbox["open"]): Sandbox {
  const maskedDirs = cpuThrottleDirs();
  return {
    exec(job, onOutput) {
      const step = newStep(job, { options, maskedDirs, onOutput });
      return running(step, run(step, launch), (pid) => -pid);
    },
    open,
  };
}

/** A step that has not begun. */
export function newStep(job: ExecJob, around: Pick<Step, "options" | "maskedDirs" | "onOutput">): Step {
  return {
    job,
    ...around,
    onStarted: null,
    held: [],
    pid: null,
    otherNetwork: null,
    ended: false,
    onEnded() {},
    terminal: null,
    size: job.tty,
    stdin: null,
    input: [],
  };
}

/** A step as its caller has it. `target`: who gets a signal that does not end all: of a step the group, since a shell is PID 1 and deaf to TERM,
 *  what it runs is not. KILL on PID 1 ends all of the namespace. */
export function running(
  step: Step,
  outcome: Promise<ExecOutcome>,
  target: (pid: number) => number,
): RunningExec {
  return {
    outcome,
    kill(signal) {
      if (step.pid !== null) killQuietly(signal === SIGKILL ? step.pid : target(step.pid), signal);
      else if (signal === SIGKILL || signal === SIGTERM || signal === SIGINT) {
        step.ended = true;
        step.onEnded();
      }
    },
    stdin(data, onTaken = () => {}) {
      if (step.terminal !== null) {
        if (data === null) onTaken();
        else step.terminal.write(data, onTaken);
      } else if (step.stdin === null) step.input.push({ data, onTaken });
      else feed(step.stdin, { data, onTaken });
    },
    resize(rows, columns) {
      step.size = { rows, columns };
      step.terminal?.resize(rows, columns);
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
  /** Called when it becomes its command; null: nobody wants to know. */
  onStarted: ((namespaces: () => number | null) => void) | null;
  terminal: Terminal | null;
  size: ExecJob["tty"]; // of the terminal, as it was last asked for
  stdin: Socket | null;
  readonly input: Input[]; // what came before the process
}

/** Bytes for standard input; null: its end. */
export interface Input {
  readonly data: Uint8Array | null;
  readonly onTaken: () => void;
}

/** Sends a signal to a process or (negative) a group that may be gone already. */
export function killQuietly(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // gone already is what was wanted
  }
}

/** Gives input to a command. */
export function feed(stdin: Socket, { data, onTaken }: Input): void {
  if (data === null) stdin.end(onTaken);
  else stdin.write(data, onTaken); // also called when it fails
}

/** Temperature statistics of each CPU, which Docker masks as well: they tell steps about each other. */
export function cpuThrottleDirs(): string[] {
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
    const network = await joinNetwork(step);
    const lowers = lowersOf(job.rootfs.dirs, storeDirOf(job));
    const targets: string[] = STEP_MOUNT_POINTS.map(({ path }) => path);
    // Released last: the overlay must not be mounted when its upper directory is touched.
    step.held.push(() => dropUnchangedDirs(job.rootfs.upper, lowers, targets));
    const files = await openStepFiles(job, { onEnd: (release) => step.held.push(release) });
    targets.push(...files.mounts.map(({ target }) => target), ...devicesOf(job));
    return await launchIn(step, files, network, launch);
  } finally {
    releaseAll(step.held);
  }
}

/** The file systems of a step: its root, and what is mounted in it. */
export interface StepFiles {
  readonly rootFd: number;
  readonly mounts: readonly PreparedMount[];
}

interface FilesContext extends Pick<MountSourceContext, "onEnd"> {
  /** As MountSourceContext.onTree, with the place of the mount in the job. */
  readonly onTree?: (index: number, root: number) => void;
}

/** Mounts them, detached. Throws MOUNT_INVALID, CONTEXT_PATH_MISSING, SANDBOX_UNAVAILABLE. */
export async function openStepFiles(job: ContainerJob, { onEnd, onTree }: FilesContext): Promise<StepFiles> {
  const storeDir = storeDirOf(job);
  const { upper, work, dirs } = job.rootfs;
  const rootFd = overlayMount({
    lowers: lowersOf(dirs, storeDir),
    upper,
    work,
    userxattr: true,
    volatile: true,
  });
  onEnd(() => close(rootFd));
  const mounts: PreparedMount[] = [];
  for (const [index, mount] of job.mounts.entries()) {
    const source = await mountSource(mount, {
      ...{ storeDir, onEnd },
      ...(onTree === undefined ? {} : { onTree: (root) => onTree(index, root) }),
    });
    mounts.push({ target: resolveTarget(rootFd, mount.target), readonly: isReadonly(mount), source });
  }
  return { rootFd, mounts };
}

/** Runs the first process in these file systems. What it holds is on `step.held`. */
export async function launchIn(
  step: Step,
  { rootFd, mounts: fromFiles }: StepFiles,
  network: StepNetwork | null,
  launch: Launch,
): Promise<ExecOutcome> {
  const { job } = step;
  const user = userIn(rootFd, job.user);
  const devices = devicesOf(job).map((path) => deviceMount(path, (release) => step.held.push(release)));
  const mounts = [...fromFiles, ...devices];
  const own = STEP_MOUNT_POINTS.map(({ path, isFile }) => ({
    path: isFile ? resolveTarget(rootFd, path) : path,
    isFile,
  }));
  const asked = mounts.map(({ target, source }) => ({ path: target, isFile: isFileSource(source) }));
  // A read-only root is no output: its upper directory is thrown away with the stubs in it.
  const stubs = makeStubs(rootFd, job.rootfs.readonly ? [] : [...own, ...asked]);
  step.held.push(() => stubs.clear());
  if (step.ended) return KILLED;
  return await launch(step, {
    rootFd,
    user,
    mounts,
    storeDir: storeDirOf(job),
    network,
    fileTargets: own.filter(({ isFile }) => isFile),
  });
}

function storeDirOf({ rootfs }: ContainerJob): string {
  return dirname(dirname(dirname(rootfs.upper)));
}

/** The account a process gets. Throws USER_UNKNOWN. */
export function userIn(rootFd: number, name: string): ExecUser {
  const user = resolveUser(rootFd, name);
  refuseStandIn(user);
  return user;
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
export function releaseAll(held: (() => void)[]): void {
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

/** The step's network; null: none of its own. */
export async function joinNetwork(step: Step): Promise<StepNetwork | null> {
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
function deviceMount(path: string, onEnd: MountSourceContext["onEnd"]): PreparedMount {
  try {
    const fd = openTree(AT.FDCWD, path, OPEN_TREE.CLONE);
    onEnd(() => close(fd));
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

/** What a process needs to join the first one of its container. */
export interface JoinedStep {
  /** A pidfd of the first. */
  readonly namespaces: number;
  readonly user: ExecUser;
  readonly network: StepNetwork | null;
}

/** Where a process that writes "0" becomes one of the cgroup. */
export function openCgroup(step: Step, dir: string): number {
  const fd = openat(AT.FDCWD, join(dir, "cgroup.procs"), O.WRONLY);
  step.held.push(() => close(fd));
  return fd;
}

/** The terminal of a step that wants one. */
export function openStepTerminal(step: Step): void {
  const { size } = step;
  if (size === null || step.job.tty === null) return;
  const terminal = openTerminal(size.rows, size.columns);
  for (const { data, onTaken } of step.input.splice(0)) {
    if (data === null) onTaken();
    else terminal.write(data, onTaken);
  }
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
  let isTaken = true;
  socket.on("data", (data) => {
    const wait = onOutput(stream, data);
    if (wait === undefined) return;
    isTaken = false;
    socket.pause();
    wait.then(
      () => {
        isTaken = true;
        socket.resume();
      },
      () => socket.destroy(), // nobody takes it any more
    );
  });
  socket.on("error", () => {}); // ends with "close" all the same
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return {
    finish: () =>
      withinMs(
        closed,
        DRAIN_MS,
        () => isTaken,
        () => socket.destroy(),
      ),
  };
}
