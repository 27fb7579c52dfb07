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

process.on("message", (raw) => {
  const message = raw as ToKeeper;
  if (message.type === "job" || message.type === "exec") answer({ type: "begun", id: message.id });
  switch (message.type) {
    case "job":
      settle(message.id, threads.run(message.id, message.job));
      return;
    case "stop":
      threads.stop(message.id);
      return;
    case "exec": {
      const { id } = message;
      const exec = sandbox.exec(message.job, (fd, data) => sendOutput(id, fd, data));
      running.set(id, exec);
      settle(
        id,
        exec.outcome.finally(() => running.delete(id)),
      );
      return;
    }
    case "kill":
      running.get(message.id)?.kill(message.signal);
      return;
    case "stdin":
      running.get(message.id)?.stdin(message.data);
      return;
    case "resize":
      running.get(message.id)?.resize(message.rows, message.columns);
      return;
    case "close":
      process.exit(0);
  }
});
process.on("disconnect", () => process.exit(0));
// A front that was killed while this process started: the event came before there was anybody to hear it.
if (!process.connected) process.exit(0);
answer({ type: "ready", pid: process.pid });
