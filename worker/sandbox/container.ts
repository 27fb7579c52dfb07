// [keeper] Several processes on the same file systems. The first is PID 1 of the container's namespaces, as of a step's, and all others end with
// it; later ones join its namespaces (setns(2) with a pidfd).

import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import type { ContainerJob, ExecOutcome, ProcessJob } from "../keeper/messages.ts";
import { close, openat } from "../sys/file.ts";
import type { StepNetwork } from "./network.ts";
import { KILLED } from "./outcome.ts";
import {
  cpuThrottleDirs,
  type Join,
  joinNetwork,
  type Launch,
  launchIn,
  newStep,
  openStepFiles,
  type OpenContainer,
  type OutputSink,
  releaseAll,
  type RunningExec,
  running,
  type SandboxOptions,
  type Step,
  userIn,
} from "./step.ts";
import { O } from "../sys/constants.ts";

const { SIGKILL } = os.signals;
/** Signals kept for a process that is not there yet. */
const SIGNALS_MAX = 64;

/** The first process, for those that join it. */
interface First {
  readonly user: string;
  /** A pidfd of it, for the caller to close; null: it has ended. */
  readonly namespaces: () => number | null;
  readonly network: StepNetwork | null;
}

/** Mounts the file systems of a container. Throws as a step does. */
export async function openContainer(
  job: ContainerJob,
  options: SandboxOptions,
  { launch, join }: { readonly launch: Launch; readonly join: Join },
): Promise<OpenContainer> {
  const held: (() => void)[] = [];
  const trees = new Map<number, number>();
  const maskedDirs = cpuThrottleDirs();
  let files: Awaited<ReturnType<typeof openStepFiles>>;
  try {
    files = await openStepFiles(job, {
      onEnd: (release) => held.push(release),
      onTree: (index, root) => trees.set(index, root),
    });
  } catch (error) {
    releaseAll(held);
    throw error;
  }
  let first: Promise<First> | null = null;

  async function runFirst(step: Step, begun: (first: First) => void): Promise<ExecOutcome> {
    try {
      const network = await joinNetwork(step);
      const told = step.onStarted;
      step.onStarted = (namespaces) => {
        begun({ user: step.job.user, namespaces, network });
        told?.(namespaces);
      };
      const outcome = await launchIn(step, files, network, launch);
      return { ...outcome, ...(step.otherNetwork === null ? {} : { otherNetwork: step.otherNetwork }) };
    } finally {
      releaseAll(step.held);
    }
  }

  async function runJoined(step: Step, process: Promise<First>): Promise<ExecOutcome> {
    try {
      const { user, namespaces, network } = await process;
      if (step.ended) return KILLED;
      const pidfd = namespaces();
      if (pidfd === null) throw ended();
      step.held.push(() => close(pidfd));
      const asked = step.job.user === "" ? user : step.job.user;
      return await join(step, { namespaces: pidfd, user: userIn(files.rootFd, asked), network });
    } finally {
      releaseAll(step.held);
    }
  }

  function begin(process: ProcessJob, onOutput: OutputSink): RunningExec {
    const step = newStep({ ...job, ...process }, { options, maskedDirs, onOutput });
    if (first !== null) {
      const process = first;
      return signalled(step, () => runJoined(step, process));
    }
    let begun: (first: First) => void = () => {};
    let failed: (error: Error) => void = () => {};
    first = new Promise<First>((resolve, reject) => {
      begun = resolve;
      failed = reject;
    });
    first.catch(() => {}); // told to those who would join
    const run = signalled(step, () => runFirst(step, begun));
    const over = (): void => failed(ended());
    run.outcome.then(over, over);
    return run;
  }

  return {
    exec: begin,
    root(mount) {
      const fd = mount === null ? files.rootFd : trees.get(mount);
      if (fd === undefined)
        throw new BuildError("MOUNT_INVALID", "the mount of the container is not a directory");
      return openat(fd, ".", O.RDONLY | O.DIRECTORY);
    },
    close: () => releaseAll(held),
  };
}

/** Signals go to the process alone, once it is its command: before that they would meet what sets it up. */
function signalled(step: Step, run: () => Promise<ExecOutcome>): RunningExec {
  const kept: number[] = [];
  let isStarted = false;
  step.onStarted = () => {
    isStarted = true;
    for (const signal of kept.splice(0)) exec.kill(signal);
  };
  const exec = running(step, run(), (pid) => pid);
  return {
    ...exec,
    kill(signal) {
      if (isStarted || signal === SIGKILL) exec.kill(signal);
      else if (kept.length < SIGNALS_MAX) kept.push(signal);
    },
  };
}

function ended(): BuildError {
  return new BuildError(
    "EXEC_FAILED",
    "the first process of the container has ended, and no other can be started in it",
  );
}
