// [process] The keeper: namespace root. File jobs go to threads, commands to the sandbox; results go back to the front.

import { availableParallelism, constants } from "node:os";
import { useNotesOf } from "../../cache/layers/owner.ts";
import { lazyLauncher, openSandbox } from "../sandbox/builtin.ts";
import { openOciSandbox } from "../sandbox/oci.ts";
import { openNetworkPool } from "../sandbox/network.ts";
import type { OpenContainer, RunningExec } from "../sandbox/step.ts";
import { close } from "../sys/file.ts";
import type { FromKeeper, ToKeeper } from "./messages.ts";
import { networkDir } from "./network-helper.ts";
import type { KeeperSettings } from "./keeper.ts";
import { openJobThreads } from "./threads.ts";
import { freezeError } from "./freeze-error.ts";

const { SIGKILL: KILL } = constants.signals;
/** The layer of a step that runs longer may be one that takes a thread, which is started while the step runs. */
const LONG_STEP_MS = 60;

const settings: KeeperSettings = JSON.parse(process.argv[2] ?? "") as KeeperSettings;
const { singleId, storeDir } = settings;
useNotesOf(storeDir);
const threads = openJobThreads(Math.max(2, availableParallelism()), {
  singleId,
  storeDir,
  loading: new Int32Array(new SharedArrayBuffer(4)),
});
const launcher = lazyLauncher();
// An OCI runtime has no way to tell the keeper of a step's calls that all of them share.
const network =
  settings.network.kind === "none" && settings.ociRuntime !== null
    ? null
    : openNetworkPool(settings.network, {
        dir: networkDir(storeDir),
        launcher,
        ahead: settings.networkAhead,
      });
const noNetwork = settings.network.kind === "none" ? settings.network.why : "";
const options = { singleId, network, noNetwork, launcher };
const sandbox =
  settings.ociRuntime === null
    ? openSandbox(options)
    : openOciSandbox(options, settings.ociRuntime, [`PATH=${process.env["PATH"] ?? ""}`]);
const running = new Map<number, RunningExec>();
const containers = new Map<number, OpenContainer>();
/** Output of processes of containers that their clients have not taken yet. */
const flows = new Map<number, Flow>();
interface Flow {
  pendingBytes: number;
  /** Nobody wants the rest. */
  isDropped: boolean;
  wake: () => void;
}

/** Output on its way to the front; above this the streams of the steps wait for it. */
const OUTPUT_PENDING_MAX_BYTES = 1 << 20;
/** Output of one process that its client has not taken; above this the process waits for it. */
const FLOW_PENDING_MAX_BYTES = 256 << 10;
let pendingBytes = 0;
let waiting: (() => void)[] = [];

function answer(message: FromKeeper): void {
  process.send?.(message, undefined, {}, () => {
    // A front that is gone takes this process with it; there is nobody to tell.
  });
}

function sendOutput(id: number, fd: 1 | 2, data: Uint8Array): Promise<void> | undefined {
  pendingBytes += data.length;
  process.send?.({ type: "output", id, fd, data } satisfies FromKeeper, undefined, {}, () => {
    pendingBytes -= data.length;
    if (pendingBytes > OUTPUT_PENDING_MAX_BYTES / 2) return;
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  });
  if (pendingBytes <= OUTPUT_PENDING_MAX_BYTES) return undefined;
  return new Promise((resolve) => waiting.push(resolve));
}

function sendFlow(id: number, flow: Flow, fd: 1 | 2, data: Uint8Array): Promise<void> | undefined {
  if (flow.isDropped) return undefined;
  flow.pendingBytes += data.length;
  const sent = sendOutput(id, fd, data);
  if (flow.pendingBytes <= FLOW_PENDING_MAX_BYTES) return sent;
  const taken = new Promise<void>((resolve) => {
    const before = flow.wake;
    flow.wake = () => {
      before();
      resolve();
    };
  });
  return sent === undefined ? taken : Promise.all([sent, taken]).then(() => {});
}

function wakeFlow(flow: Flow): void {
  const { wake } = flow;
  flow.wake = () => {};
  wake();
}

function containerOf(id: number): OpenContainer {
  const container = containers.get(id);
  if (container === undefined) throw new Error(`there is no container ${id}`);
  return container;
}

async function openContainer({ id, job }: Extract<ToKeeper, { type: "open" }>): Promise<null> {
  containers.set(id, await sandbox.open(job));
  return null;
}

async function lookInto(message: Extract<ToKeeper, { type: "look" }>): Promise<unknown> {
  const { id, container, mount, path, question } = message;
  const root = containerOf(container).root(mount);
  try {
    return await threads.run(id, { kind: "look", tree: { kind: "mounted", root }, path, question });
  } finally {
    close(root);
  }
}

async function release(id: number): Promise<null> {
  const container = containerOf(id);
  containers.delete(id);
  container.close();
  return null;
}

async function runProcess({ id, container, job }: Extract<ToKeeper, { type: "process" }>): Promise<unknown> {
  const flow: Flow = { pendingBytes: 0, isDropped: false, wake: () => {} };
  const exec = containerOf(container).exec(job, (fd, data) => sendFlow(id, flow, fd, data));
  flows.set(id, flow);
  running.set(id, exec);
  try {
    return await exec.outcome;
  } finally {
    flows.delete(id);
    running.delete(id);
  }
}

function settle(id: number, work: Promise<unknown>): void {
  work.then(
    (outcome) => answer({ type: "done", id, outcome }),
    (error: unknown) => answer({ type: "failed", id, error: freezeError(error) }),
  );
}

/** What begins with an acknowledgement. */
type Beginning = Extract<ToKeeper, { type: "job" | "exec" | "open" | "process" | "look" | "release" }>;
/** Messages for jobs that wait until the front is known to hear that they have begun. */
const beginning = new Map<number, ToKeeper[]>();

/** Starts a job once "begun" has left this process: the front gives a job without it to another keeper, so it must not be lost behind output that
 *  is still queued when this one is killed. */
function begin(message: Beginning): void {
  const { id } = message;
  const later: ToKeeper[] = [];
  beginning.set(id, later);
  process.send?.({ type: "begun", id } satisfies FromKeeper, undefined, {}, () => {
    beginning.delete(id);
    start(message);
    for (const one of later) handle(one);
  });
}

function start(message: Beginning): void {
  const { id } = message;
  switch (message.type) {
    case "job":
      return settle(id, threads.run(id, message.job));
    case "exec": {
      const exec = sandbox.exec(message.job, (fd, data) => sendOutput(id, fd, data));
      running.set(id, exec);
      const warming = setTimeout(threads.warm, LONG_STEP_MS);
      return settle(
        id,
        exec.outcome.finally(() => {
          running.delete(id);
          clearTimeout(warming);
        }),
      );
    }
    case "open":
      return settle(id, openContainer(message));
    case "process":
      return settle(id, runProcess(message));
    case "look":
      return settle(id, lookInto(message));
    case "release":
      return settle(id, release(message.container));
  }
}

function handle(message: ToKeeper): void {
  const later = "id" in message ? beginning.get(message.id) : undefined;
  if (later !== undefined) return void later.push(message);
  switch (message.type) {
    case "job":
    case "exec":
    case "open":
    case "process":
    case "look":
    case "release":
      return begin(message);
    case "stop":
      return threads.stop(message.id);
    case "kill":
      running.get(message.id)?.kill(message.signal);
      return undefined;
    case "stdin": {
      const { id, data } = message;
      const bytes = data?.length ?? 0;
      running.get(id)?.stdin(data, () => answer({ type: "fed", id, bytes }));
      return undefined;
    }
    case "taken": {
      const flow = flows.get(message.id);
      if (flow === undefined) return undefined;
      flow.pendingBytes -= message.bytes;
      if (flow.pendingBytes <= FLOW_PENDING_MAX_BYTES / 2) wakeFlow(flow);
      return undefined;
    }
    case "end": {
      const flow = flows.get(message.id);
      running.get(message.id)?.kill(KILL);
      if (flow === undefined) return undefined;
      flow.isDropped = true;
      wakeFlow(flow);
      return undefined;
    }
    case "resize":
      running.get(message.id)?.resize(message.rows, message.columns);
      return undefined;
    case "close":
      return process.exit(0);
  }
}

process.on("message", (message) => handle(message as ToKeeper));
process.on("disconnect", () => process.exit(0));
// A front that was killed while this process started: the event came before there was anybody to hear it.
if (!process.connected) process.exit(0);
answer({ type: "ready", pid: process.pid });
