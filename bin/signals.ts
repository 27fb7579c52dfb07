// Ctrl-C and similar signals: the first cancels and waits for a limited time; the second exits at once.

import { setMaxListeners } from "node:events";
import { constants } from "node:os";

export interface Signals {
  readonly signal: AbortSignal;
  /** 128 + number of the signal that came, or null. */
  exitCode(): number | null;
  /** Ends the process. */
  leave(code: number): void;
}

/** What the abort signal's reason is. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** After the first signal the process ends within this time, whatever it still waits for: a disk or network that hangs, a part
 *  that did not hear of the cancel. Nothing depends on tidying up: the keeper and programs that run end with this process, and
 *  what is left in the store is swept when it is opened the next time. All that hears of it is done within 2 s. */
const LEAVE_WITHIN_MS = 2_500;

const NAMES = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Listens for SIGINT, SIGTERM and SIGHUP until the process ends. */
export function listenForSignals(): Signals {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // all that goes on, in several stores with `verify`
  let first: (typeof NAMES)[number] | null = null;
  const codeOf = (name: (typeof NAMES)[number]): number => 128 + constants.signals[name];

  const leave = (code: number): void => {
    if (first !== null && isHeld()) {
      // process.exit() would wait for these threads (libuv joins them), so the signal does what it does by itself. Shells say the
      // same 128 + n of that. PID 1 of a container is spared by the kernel, signal(7), and goes on to process.exit().
      process.emit("exit", code);
      process.removeAllListeners(first);
      process.kill(process.pid, first);
    }
    process.exit(code);
  };
  for (const name of NAMES) {
    process.on(name, () => {
      if (first !== null) return leave(codeOf(first));
      first = name;
      setTimeout(() => {
        process.stderr.write("canceled\n");
        leave(codeOf(name));
      }, LEAVE_WITHIN_MS);
      controller.abort(new Interrupted(`stopped by ${name}`));
      return undefined;
    });
  }
  return {
    signal: controller.signal,
    exitCode: () => (first === null ? null : codeOf(first)),
    leave,
  };
}

/** Is a thread of libuv's pool in a call that may not return: a name that is looked up, a FIFO without another end? */
function isHeld(): boolean {
  return process
    .getActiveResourcesInfo()
    .some((name) => /^(?:FSReq|GetAddrInfoReq|GetNameInfoReq)/.test(name));
}
