// [process] The keeper: namespace root. Jobs on files go to threads, commands to the sandbox; answers go back to the front.

import { availableParallelism } from "node:os";
import { runExec, type RunningExec } from "../sandbox/builtin.ts";
import type { FromKeeper, ToKeeper } from "./messages.ts";
import { openJobThreads } from "./threads.ts";
import { freezeError } from "./wire-error.ts";

const singleId = process.argv[2] === "single";
const threads = openJobThreads(Math.max(2, availableParallelism()), singleId);
const running = new Map<number, RunningExec>();

function answer(message: FromKeeper): void {
  process.send?.(message, undefined, {}, () => {
    // A front that is gone takes this process with it; there is nobody to tell.
  });
}

function settle(id: number, work: Promise<unknown>): void {
  work.then(
    (outcome) => answer({ type: "done", id, outcome }),
    (error: unknown) => answer({ type: "failed", id, error: freezeError(error) }),
  );
}

process.on("message", (raw) => {
  const message = raw as ToKeeper;
  switch (message.type) {
    case "job":
      settle(message.id, threads.run(message.job));
      return;
    case "exec": {
      const { id } = message;
      const exec = runExec(message.job, {
        singleId,
        onOutput: (fd, data) => answer({ type: "output", id, fd, data }),
      });
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
answer({ type: "ready", pid: process.pid });
