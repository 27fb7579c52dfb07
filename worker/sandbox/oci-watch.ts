// [keeper] Follows one container of an OCI runtime by its lifecycle program's status (oci-program.ts), and reports a runtime's failure.

import type { ChildProcess } from "node:child_process";
import type { Socket } from "node:net";
import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecJob } from "../keeper/messages.ts";
import type { OciBundle } from "./oci-bundle.ts";
import { OCI_FD, OCI_STATUS, PID_FILE, REAPED_BYTES } from "./oci-program.ts";
import type { OciRuntime } from "./oci-runtime.ts";
import { execError } from "./outcome.ts";
import { boundContainer, processBoundOf } from "./process-bound.ts";
import { killQuietly, type Step, launcherError } from "./step.ts";
import { STEP_STATUS } from "./step-plan.ts";

const { SIGKILL } = os.signals;
/** A step that is killed before it has a process: how long its making may take until the runtime is killed as well. */
const CREATE_GRACE_MS = 500; // within what a cancelled step has before the whole keeper goes (keeper.ts)
/** `start` ends a moment after the container has begun; still there when that is over, it waits for nothing. */
const START_GRACE_MS = 250;

/** What the lifecycle said. */
export interface Said {
  /** How the container's process ended, as outcomeOf takes it; null: there never was one, or nobody saw its end. */
  readonly end: Buffer | null;
  /** The call of the lifecycle that failed. */
  readonly failure: { readonly record: bigint; readonly errnum: number } | null;
}

/** Follows the container until the launcher is gone; makes its process the step's as soon as there is one. */
export function followContainer(child: ChildProcess, step: Step, bundle: OciBundle): Promise<Said> {
  return new Promise((resolve, reject) => {
    const pipe = child.stdio[OCI_FD.status] as Socket;
    let rest: Buffer = Buffer.alloc(0);
    let container: number | null = null;
    let starting: number | null = null;
    let end: Said["end"] = null;
    let failure: Said["failure"] = null;
    let giveUp: NodeJS.Timeout | undefined;
    let startGrace: NodeJS.Timeout | undefined;
    step.onEnded = () => {
      giveUp ??= setTimeout(() => child.kill("SIGKILL"), CREATE_GRACE_MS);
    };
    if (step.ended) step.onEnded();

    const take = (message: Buffer): void => {
      const kind = message.readBigUInt64LE(0);
      const value = Number(message.readBigInt64LE(8));
      if (kind === OCI_STATUS.created) {
        clearTimeout(giveUp);
        const pid = Number(bundle.read(PID_FILE)?.trim());
        if (!(pid > 1)) return void child.kill("SIGKILL"); // to signal 0 or 1 would be to signal this process
        container = pid;
        step.pid = pid;
        if (step.ended) killQuietly(pid, SIGKILL);
        boundContainer(step.options.launcher(), pid, processBoundOf(step.job.processes));
      } else if (kind === OCI_STATUS.starting) {
        starting = value;
      } else if (kind === OCI_STATUS.reaped && value === container) {
        step.pid = null;
        // Killed between the two, it leaves `start` waiting for somebody to talk to.
        const left = starting;
        if (left !== null) startGrace = setTimeout(() => killQuietly(left, SIGKILL), START_GRACE_MS);
        end = Buffer.alloc(8 + message.length - 16);
        end.writeBigUInt64LE(STEP_STATUS.exit);
        message.copy(end, 8, 16);
      } else if (kind === OCI_STATUS.reaped) {
        if (value !== starting) return; // of what the runtime left behind
        starting = null;
        clearTimeout(startGrace);
        if (message.readBigUInt64LE(16) !== 0n && step.pid !== null) {
          // A start that failed leaves a container that waits for it.
          killQuietly(step.pid, SIGKILL);
          container = null; // its end says nothing of the command
        }
      } else {
        failure ??= { record: kind, errnum: -value };
      }
    };
    pipe.on("data", (data: Buffer) => {
      rest = Buffer.concat([rest, data]);
      while (rest.length >= 16) {
        const length = rest.readBigUInt64LE(0) === OCI_STATUS.reaped ? REAPED_BYTES : 16;
        if (rest.length < length) return;
        take(rest.subarray(0, length));
        rest = rest.subarray(length);
      }
    });
    pipe.on("error", () => {}); // what was read until then counts
    child.once("error", (cause) => reject(launcherError(cause)));
    child.once("close", () => {
      clearTimeout(giveUp);
      clearTimeout(startGrace);
      // A launcher that was killed has left the container, if there is one, to the keeper.
      if (step.pid !== null) killQuietly(step.pid, SIGKILL);
      step.pid = null;
      resolve({ end, failure });
    });
  });
}

/** The container did not come to be, in the runtime's words. */
export function runtimeError(runtime: OciRuntime, said: string, job: ExecJob): BuildError {
  if (/argument list too long/i.test(said)) return execError(os.errno.E2BIG, job);
  const words = runtimeWords(said);
  return new BuildError(
    "SANDBOX_UNAVAILABLE",
    `the OCI runtime ${runtime.file} could not run the step: ${words === "" ? "it gave no reason" : words}`,
    { hint: "does the step run without --oci-runtime?" },
  );
}

/** The last error a runtime wrote: text (crun), logrus' key=value (runc) or JSON. */
export function runtimeWords(said: string): string {
  const errors = said
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/\blevel="?(?:warning|info|debug)/.test(line))
    .map((line) => {
      const quoted = /\bmsg(?:"?:\s*|=)("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
      if (quoted === undefined) return line;
      try {
        return String(JSON.parse(quoted));
      } catch {
        return quoted; // Go's escapes are not all JSON's
      }
    });
  return (errors.at(-1) ?? "").slice(0, 1000);
}
