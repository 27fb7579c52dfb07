// [keeper] The pool of threads that run jobs on files with synchronous calls, so that the message loop never waits.

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { ThreadJob, WireError } from "./messages.ts";
import { thawError } from "./wire-error.ts";

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

/** What a thread is started with. */
export interface ThreadData {
  readonly singleId: boolean;
}

/** A thread that answers each job posted to it (thread.ts). */
export function startThread(data: ThreadData): Worker {
  return new Worker(new URL("../../solver/graph/bundle.cjs", import.meta.url), {
    argv: ["thread", fileURLToPath(new URL("./thread.js", import.meta.url))],
    workerData: data,
    resourceLimits: { maxYoungGenerationSizeMb: 8 },
  });
}

/** What a build does next (packing the layer a step has just made) comes within this time, so a job in the background leaves the
 *  thread to it that is already there: starting one more takes as long as packing a small layer four times. */
const BACKGROUND_AFTER_MS = 50;

/** `first`, and at most `count` threads with it, started when first needed and kept. Jobs in the background start none. */
export function openJobThreads(first: Worker, count: number, singleId: boolean): JobThreads {
  const idle: Worker[] = [first];
  const queue: Waiting[] = [];
  const background: Waiting[] = [];
  let started = 1;

  const start = (): Worker => {
    started += 1;
    return startThread({ singleId });
  };
  const next = (): void => {
    const jobs = queue.length > 0 ? queue : background;
    const waiting = jobs[0];
    if (waiting === undefined) return;
    const thread = idle.pop() ?? (started < (jobs === queue ? count : 1) ? start() : null);
    if (thread === null) return;
    jobs.shift();
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
  return {
    run(job) {
      return new Promise((resolve, reject) => {
        if (job.kind === "measure" && job.background) {
          background.push({ job, resolve, reject });
          setTimeout(next, BACKGROUND_AFTER_MS);
          return;
        }
        queue.push({ job, resolve, reject });
        next();
      });
    },
  };
}
