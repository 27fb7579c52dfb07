// [process] The keeper: namespace root. File jobs go to threads, commands to the sandbox; results go back to the front.

import { firstThread, settings, threadData } from "./first-thread.ts";
import { availableParallelism } from "node:os";
import { lazyLauncher, openSandbox } from "../sandbox/builtin.ts";
import { openOciSandbox } from "../sandbox/oci.ts";
import { openNetworkPool } from "../sandbox/network.ts";
import type { RunningExec } from "../sandbox/step.ts";
import type { FromKeeper, ToKeeper } from "./messages.ts";
import { networkDir } from "./network-helper.ts";
import { openJobThreads } from "./threads.ts";
import { freezeError } from "./freeze-error.ts";

const { singleId } = settings;
const threads = openJobThreads(firstThread, Math.max(2, availableParallelism()), threadData);
const launcher = lazyLauncher();
// An OCI runtime has no way to tell the keeper of a step's calls that all of them share.
const network =
  settings.network.kind === "none" && settings.ociRuntime !== null
    ? null
    : openNetworkPool(settings.network, {
        dir: networkDir(settings.storeDir),
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

/** Output on its way to the front; above this the streams of the steps wait for it. */
const OUTPUT_PENDING_MAX_BYTES = 1 << 20;
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

function settle(id: number, work: Promise<unknown>): void {
  work.then(
    (outcome) => answer({ type: "done", id, outcome }),
    (error: unknown) => answer({ type: "failed", id, error: freezeError(error) }),
  );
}

/** Messages for jobs that wait until the front is known to hear that they have begun. */
const beginning = new Map<number, ToKeeper[]>();

/** Starts a job once "begun" has left this process: the front gives a job without it to another keeper, so it must not be lost behind output that
 *  is still queued when this one is killed. */
function begin(message: Extract<ToKeeper, { type: "job" | "exec" }>): void {
  const { id } = message;
  const later: ToKeeper[] = [];
  beginning.set(id, later);
  process.send?.({ type: "begun", id } satisfies FromKeeper, undefined, {}, () => {
    beginning.delete(id);
    start(message);
    for (const one of later) handle(one);
  });
}

function start(message: Extract<ToKeeper, { type: "job" | "exec" }>): void {
  const { id } = message;
  if (message.type === "job") return settle(id, threads.run(id, message.job));
  const exec = sandbox.exec(message.job, (fd, data) => sendOutput(id, fd, data));
  running.set(id, exec);
  settle(
    id,
    exec.outcome.finally(() => running.delete(id)),
  );
  return undefined;
}

function handle(message: ToKeeper): void {
  const later = "id" in message ? beginning.get(message.id) : undefined;
  if (later !== undefined) return void later.push(message);
  switch (message.type) {
    case "job":
    case "exec":
      return begin(message);
    case "stop":
      return threads.stop(message.id);
    case "kill":
      running.get(message.id)?.kill(message.signal);
      return undefined;
    case "stdin":
      running.get(message.id)?.stdin(message.data);
      return undefined;
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
