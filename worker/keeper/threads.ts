// [keeper] The pool of threads that run jobs on files with synchronous calls, so that the message loop never waits.

import { Worker } from "node:worker_threads";
import { BuildError, type ErrorCode } from "../../solver/graph/error.ts";
import type { ThreadJob, WireError } from "./messages.ts";

export interface JobThreads {
  run(job: ThreadJob): Promise<unknown>;
}

/** What a thread answers. */
export type ThreadAnswer = { readonly outcome: unknown } | { readonly error: WireError };

interface Waiting {
  readonly job: ThreadJob;
  readonly resolve: (outcome: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** At most `count` threads, started when first needed and kept. */
export function openJobThreads(count: number, singleId: boolean): JobThreads {
  const idle: Worker[] = [];
  const queue: Waiting[] = [];
  let started = 0;

  const start = (): Worker => {
    started += 1;
    return new Worker(new URL("./thread.js", import.meta.url), {
      workerData: { singleId },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
  };
  const next = (): void => {
    const waiting = queue[0];
    if (waiting === undefined) return;
    const thread = idle.pop() ?? (started < count ? start() : null);
    if (thread === null) return;
    queue.shift();
    const settle = (): void => {
      thread.off("message", onMessage);
      thread.off("error", onError);
    };
    const onMessage = (answer: ThreadAnswer): void => {
      settle();
      idle.push(thread);
      if ("outcome" in answer) waiting.resolve(answer.outcome);
      else waiting.reject(thawError(answer.error));
      next();
    };
    const onError = (error: unknown): void => {
      settle();
      started -= 1; // the thread is gone
      waiting.reject(error);
      next();
    };
    thread.on("message", onMessage);
    thread.on("error", onError);
    thread.postMessage(waiting.job);
  };
  idle.push(start());
  return {
    run(job) {
      return new Promise((resolve, reject) => {
        queue.push({ job, resolve, reject });
        next();
      });
    },
  };
}

/** An error as data. Only BuildError keeps its kind; everything else is a bug or a system error with its stack. */
export function freezeError(error: unknown): WireError {
  if (error instanceof BuildError) {
    return { code: error.code, message: error.message, hint: error.hint, stack: error.stack ?? "" };
  }
  if (error instanceof Error) {
    const errno = (error as NodeJS.ErrnoException).code ?? (error as { errno?: unknown }).errno;
    if (errno === "ENOSPC") {
      return { code: "STORE_FULL", message: `no space left for the build: ${error.message}`, hint: "tsbuild prune, or --root on a larger disk", stack: error.stack ?? "" };
    }
    return { code: typeof errno === "string" ? "SYSCALL" : "", message: error.message, hint: null, stack: error.stack ?? "" };
  }
  return { code: "", message: String(error), hint: null, stack: "" };
}

function thawError(error: WireError): Error {
  if (error.code !== "") return new BuildError(error.code as ErrorCode, error.message, { hint: error.hint });
  const plain = new Error(error.message);
  plain.stack = error.stack;
  return plain;
}
