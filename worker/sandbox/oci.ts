// [keeper] Steps in an OCI runtime (crun, runc, or another with the same command line): prepared as for the built-in sandbox, then
// a bundle, the program inside and the program outside, which calls the runtime (oci-program.ts).

import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";
import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecOutcome } from "../keeper/messages.ts";
import { launcherArch } from "../launcher/install.ts";
import { close, fchownat, openat, pipe2 } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { scratchDir } from "./mount-sources.ts";
import { openBundle, type OciBundle, STATE_DIR, writeConfig } from "./oci-bundle.ts";
import { ENTRY_PATH, entryProgram, lifecycleProgram, OCI_FD } from "./oci-program.ts";
import { type OciRuntime, runtimeWays, type RuntimeWays } from "./oci-runtime.ts";
import { execError, outcomeOf, setupError } from "./outcome.ts";
import { stepEnvironment } from "./rootfs.ts";
import {
  DRAIN_MS,
  drain,
  feed,
  openCgroup,
  openStepSandbox,
  openStepTerminal,
  type PreparedStep,
  type Sandbox,
  type SandboxOptions,
  type Step,
} from "./step.ts";
import { followContainer, runtimeError, type Said } from "./oci-watch.ts";
import { AT, O } from "../sys/constants.ts";
import { nextFd } from "../launcher/step-fd.ts";

/** What a runtime says is kept up to this size. */
const WORDS_MAX_BYTES = 16 << 10;
/** An argument or variable with its NUL must be shorter: MAX_ARG_STRLEN of execve(2), on pages of 4 KiB. */
const ARGUMENT_MAX_BYTES = 131_072;

/** A sandbox whose steps run in `runtime`; `env` is the runtime's own environment. */
export function openOciSandbox(
  options: SandboxOptions,
  runtime: OciRuntime,
  env: readonly string[],
): Sandbox {
  let count = 0;
  return openStepSandbox(
    options,
    (step, prepared) => {
      count += 1;
      return launch(step, prepared, { runtime, env, id: `tsbuild-${process.pid}-${count}` });
    },
    async () => {
      throw new BuildError(
        "SANDBOX_UNAVAILABLE",
        "containers with several processes are not supported with an OCI runtime",
        { hint: "leave out --oci-runtime" },
      );
    },
  );
}

interface Container {
  readonly runtime: OciRuntime;
  readonly env: readonly string[];
  readonly id: string;
}

async function launch(step: Step, prepared: PreparedStep, container: Container): Promise<ExecOutcome> {
  const { job, options } = step;
  const env = stepEnvironment(job.env, prepared.user.home, job.tty !== null);
  if ([...job.args, ...env].some((text) => Buffer.byteLength(text) >= ARGUMENT_MAX_BYTES))
    throw execError(os.errno.E2BIG, job);
  openStepTerminal(step);
  const dir = scratchDir(prepared.storeDir);
  const bundle = openBundle(dir, options.singleId);
  step.held.push(() => bundle.close());
  const ways = runtimeWays(container.runtime, `${dir}/${STATE_DIR}`);
  const entry = entryProgram({
    arch: launcherArch(),
    args: job.args,
    env,
    input: step.terminal !== null ? "tty" : job.stdin ? "stdin" : "nothing",
  });
  writeConfig(bundle, step, prepared, {
    args: [ENTRY_PATH, ...job.args],
    env,
    console: step.terminal?.mount ?? null,
    deviceMounts: ways.deviceMounts,
  });

  const started = start(step, prepared, container, { bundle, dir, entry: entry.bytes, ways });
  step.terminal?.start((data) => step.onOutput(1, data));
  let said: Said;
  try {
    said = await followContainer(started.child, step, bundle);
  } finally {
    await Promise.all(started.drains.map((one) => one.finish()));
  }
  await step.terminal?.finish(DRAIN_MS);
  if (said.failure !== null) {
    throw setupError(started.describe(said.failure.record), said.failure.errnum, options.singleId);
  }
  if (said.end === null && !step.ended) throw runtimeError(container.runtime, started.words(), job);
  const status = Buffer.concat([said.end ?? Buffer.alloc(0), started.entryStatus()]);
  return outcomeOf(status, entry.describe, job, options.singleId);
}

interface Started {
  readonly child: ChildProcess;
  readonly describe: ReturnType<typeof lifecycleProgram>["describe"];
  readonly drains: readonly { finish(): Promise<void> }[];
  /** What the runtime wrote. Whole once the drains have finished, as is the next. */
  readonly words: () => string;
  /** What the program inside said. */
  readonly entryStatus: () => Buffer;
}

/** Starts the launcher with the lifecycle of the container, and the streams on this side. */
function start(
  step: Step,
  prepared: PreparedStep,
  { env, id, runtime }: Container,
  { bundle, dir, entry, ways }: { bundle: OciBundle; dir: string; entry: Uint8Array; ways: RuntimeWays },
): Started {
  const { job } = step;
  const passed: number[] = [];
  const given: number[] = []; // ends that are only for the launcher, closed once it has them
  const kept: number[] = [];
  const pass = (fd: number): number => {
    const number = nextFd(OCI_FD.first, passed, OCI_FD.own);
    passed.push(fd);
    return number;
  };
  const pipe = (mine: 0 | 1): [mine: number, theirs: number] => {
    const ends = pipe2();
    const theirs = ends[1 - mine] as number;
    kept.push(ends[mine]);
    given.push(theirs);
    return [ends[mine], theirs];
  };
  try {
    const [programWrite, programRead] = pipe(1);
    const [statusRead, statusWrite] = pipe(0);
    const [wordsRead, wordsWrite] = pipe(0);
    const [outRead, outWrite] = pipe(0);
    const [errRead, errWrite] = pipe(0);
    const input = job.stdin && step.terminal === null ? pipe(1) : null;
    const launcher = openat(AT.FDCWD, step.options.launcher(), O.PATH);
    given.push(launcher);
    // Standard streams belong to whoever runs, so that /dev/stdout can be opened by any user.
    for (const fd of [outWrite, errWrite, ...(step.terminal === null ? [] : [step.terminal.slave])])
      giveTo(fd, prepared.user, step.options.singleId);
    const entryFds = [programRead, statusWrite, launcher, outWrite, errWrite];
    if (input !== null) entryFds.push(input[1]);
    if (step.terminal !== null) entryFds.push(step.terminal.slave);
    const { bytes, describe } = lifecycleProgram({
      arch: launcherArch(),
      bundleDir: dir,
      bundleFd: pass(bundle.fd),
      rootFd: pass(prepared.rootFd),
      mounts: bundle.places.map(({ fd, name }) => ({ fd: pass(fd), name })),
      entryFds: entryFds.map(pass),
      cgroupFd: job.cgroup === undefined ? null : pass(openCgroup(step, job.cgroup)),
      cgroups: ways.cgroups,
      runtime: [runtime.file, ...ways.args],
      env,
      id,
    });
    const child = spawn(step.options.launcher(), [], {
      stdio: ["pipe", wordsWrite, wordsWrite, "pipe", ...passed],
      env: {},
      cwd: "/",
    });
    kept.length = 0; // the streams below own them now
    child.stdin?.on("error", () => {}); // told by the status
    child.stdin?.end(bytes);
    const program = writer(programWrite);
    program.end(entry);
    step.held.push(() => program.destroy());
    if (input !== null) {
      const stdin = writer(input[0]);
      step.held.push(() => {
        step.stdin = null;
        stdin.destroy();
      });
      for (const data of step.input.splice(0)) feed(stdin, data);
      step.stdin = stdin;
    }
    const words = collect(wordsRead, WORDS_MAX_BYTES);
    const entryStatus = collect(statusRead, WORDS_MAX_BYTES);
    return {
      child,
      describe,
      drains: [drain(outRead, 1, step.onOutput), drain(errRead, 2, step.onOutput), words, entryStatus],
      words: () => words.bytes().toString(),
      entryStatus: entryStatus.bytes,
    };
  } finally {
    for (const fd of [...given, ...kept]) close(fd);
  }
}

function giveTo(fd: number, user: { readonly uid: number; readonly gid: number }, singleId: boolean): void {
  if (user.uid === 0 && user.gid === 0) return;
  try {
    fchownat(fd, "", user.uid, user.gid, AT.EMPTY_PATH);
  } catch (error) {
    if (!isSysError(error, "EINVAL")) throw error;
    throw setupError({ call: "setresuid", what: `becoming user ${user.uid}` }, error.errnum, singleId);
  }
}

/** The end of a pipe to be written to; whoever reads may go away. */
function writer(fd: number): Socket {
  const socket = new Socket({ fd, readable: false, writable: true });
  socket.on("error", () => {});
  return socket;
}

/** Reads a pipe and keeps the beginning of what comes. */
function collect(fd: number, maxBytes: number): { finish(): Promise<void>; bytes(): Buffer } {
  const chunks: Buffer[] = [];
  let length = 0;
  const reading = drain(fd, 1, (_fd, data) => {
    if (length < maxBytes) chunks.push(Buffer.from(data));
    length += data.length;
  });
  return { finish: reading.finish, bytes: () => Buffer.concat(chunks) };
}
