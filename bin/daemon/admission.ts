// Which builds may run: all, until the daemon is told to end. Then none begins, and those that run have some time.

import type { Handler } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";

export interface Admission {
  /** A handler whose calls are builds. */
  guard(handler: Handler): Handler;
  /** Refuses new builds from now on, and resolves when none runs any more: those that still do after `withinMs` are cancelled.
   *  Called again, it only shortens the time. */
  drain(withinMs: number): Promise<void>;
  readonly running: number;
}

/** `onEnd`: called after each build. */
export function openAdmission(onEnd: () => void): Admission {
  const running = new Set<AbortController>();
  const idle = new Set<() => void>();
  const timers = new Set<NodeJS.Timeout>();
  let isDraining = false;
  let isCancelled = false;

  return {
    guard: (handler) => async (call) => {
      if (isDraining)
        throw new RpcError(
          CODE.UNAVAILABLE,
          "tsbuildd is shutting down and takes no new builds: try again later, or another builder",
        );
      const controller = new AbortController();
      const onAbort = (): void => controller.abort(call.signal.reason);
      if (call.signal.aborted) onAbort();
      else call.signal.addEventListener("abort", onAbort, { once: true });
      running.add(controller);
      try {
        await handler({ ...call, signal: controller.signal });
      } catch (error) {
        throw isCancelled && !call.signal.aborted ? cancelled() : error;
      } finally {
        call.signal.removeEventListener("abort", onAbort);
        running.delete(controller);
        if (running.size === 0) for (const resolve of idle) resolve();
        onEnd();
      }
    },
    async drain(withinMs) {
      isDraining = true;
      if (running.size === 0) return;
      const timer = setTimeout(() => {
        isCancelled = true;
        for (const controller of running) controller.abort(cancelled());
      }, withinMs);
      timers.add(timer);
      await new Promise<void>((resolve) => idle.add(resolve));
      for (const one of timers) clearTimeout(one);
    },
    get running() {
      return running.size;
    },
  };
}

function cancelled(): RpcError {
  return new RpcError(CODE.UNAVAILABLE, "the build was cancelled: tsbuildd is shutting down");
}
