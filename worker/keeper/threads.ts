// [keeper] The pool of threads that run file jobs with synchronous calls, so that the message loop never blocks. Until there is a thread,
// small jobs run in the keeper's own: most builds of one new step need no other.

import { Worker } from "node:worker_threads";
import { entryOf } from "../../solver/graph/entry.ts";
import type { ThreadJob, WireError } from "./messages.ts";
import { smallJob } from "./small-jobs.ts";
import { thawError } from "./wire-error.ts";

export interface JobThreads {
  run(id: number, job: ThreadJob): Promise<unknown>;
  /** Starts the first thread, unless there is one: it is likely to be needed soon. */
  warm(): void;
  /** Ends a job wherever it stands; it rejects once its thread is gone. Descriptors it has open stay so until the keeper ends:
   *  nobody is left who knows them. */
  stop(id: number): void;
}

/** What a thread answers. */
export type ThreadAnswer = { readonly outcome: unknown } | { readonly error: WireError };

interface Waiting {
  readonly id: number;
  readonly job: ThreadJob;
  readonly resolve: (outcome: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What a thread is started with. */
export interface ThreadData {
  readonly singleId: boolean;
  /** Whose key cache/layers/owner.ts seals notes with. */
  readonly storeDir: string;
  /** How many threads are loading native code just now, in one cell that all share. */
  readonly loading?: Int32Array;
}

/** A thread that answers each job posted to it (thread.ts). */
export function startThread(data: ThreadData): Worker {
  if (data.loading !== undefined) Atomics.add(data.loading, 0, 1); // thread.ts takes it off
  const { file, argv } = entryOf("thread", new URL("./thread.js", import.meta.url));
  return new Worker(file, {
    argv: [...argv],
    workerData: data,
    resourceLimits: { maxYoungGenerationSizeMb: 8 },
  });
}

/** What a build does next (packing the layer a step has just made) comes within this time, so a job in the background leaves the
 *  thread to it that is already there: starting one more takes as long as packing a small layer four times. */
const BACKGROUND_AFTER_MS = 50;
/** A job waits so long for a thread that is busy before another one is started: most jobs take a few milliseconds, a start 40. */
const GROW_AFTER_MS = 20;
/** A job in the background waits longer, since small layers are packed by then. The end of a build waits for it too. */
const BACKGROUND_GROW_AFTER_MS = 150;
/** A thread to be ended is asked so often whether it has loaded its code, and ended all the same after half a second. */
const LOADED_AFTER_MS = 5;
const LOADED_TRIES = 100;

/** At most `count` threads, and one more for each job that waits for a blob to arrive, started when first needed and kept. */
export function openJobThreads(count: number, data: ThreadData): JobThreads {
  const idle: Worker[] = [];
  const queue: Waiting[] = [];
  const background: Waiting[] = [];
  const running = new Map<number, Worker>();
  /** Jobs that mostly wait for what they read: each leaves its processor to one more thread. */
  const patient = new Set<number>();
  const ending = new WeakSet<Worker>();
  let started = 0;
  const growing = new Set<readonly Waiting[]>();

  /** Not while it, or one it has started, loads native code: Node-API ends the whole process then. That takes some 50 ms. */
  const end = (id: number, thread: Worker, triesLeft: number): void => {
    if (running.get(id) !== thread) return; // it has answered
    if (triesLeft > 0 && data.loading !== undefined && Atomics.load(data.loading, 0) > 0)
      setTimeout(end, LOADED_AFTER_MS, id, thread, triesLeft - 1);
    else {
      ending.add(thread);
      void thread.terminate();
    }
  };
  const start = (): Worker => {
    started += 1;
    return startThread(data);
  };
  /** A thread for the first job of a queue; null: it has to wait. */
  const threadFor = (jobs: readonly Waiting[], mayGrow: boolean): Worker | null => {
    const thread = idle.pop();
    if (thread !== undefined) return thread;
    if (started === 0) return start();
    if (started >= count + patient.size) return null;
    if (mayGrow) return start();
    if (growing.has(jobs)) return null;
    growing.add(jobs);
    const growLater = (): void => {
      growing.delete(jobs);
      next(true);
    };
    setTimeout(growLater, jobs === queue ? GROW_AFTER_MS : BACKGROUND_GROW_AFTER_MS);
    return null;
  };
  const next = (mayGrow = false): void => {
    const jobs = queue.length > 0 ? queue : background;
    const waiting = jobs[0];
    if (waiting === undefined) return;
    const here = started === 0 ? smallJob(waiting.job) : null;
    if (here !== null) {
      jobs.shift();
      here()
        .then(waiting.resolve, waiting.reject)
        .finally(() => next());
      return;
    }
    const thread = threadFor(jobs, mayGrow);
    if (thread === null) return;
    jobs.shift();
    running.set(waiting.id, thread);
    if (waiting.job.kind === "apply" && waiting.job.arriving !== undefined) patient.add(waiting.id);
    const settle = (): void => {
      running.delete(waiting.id);
      patient.delete(waiting.id);
      thread.off("message", onMessage);
      thread.off("error", onEnd);
      thread.off("exit", onEnd);
    };
    const onMessage = (answer: ThreadAnswer): void => {
      settle();
      // One that is being ended may still have answered, and takes no other job: it would be lost with the thread.
      if (ending.has(thread)) started -= 1;
      else idle.push(thread);
      if ("outcome" in answer) waiting.resolve(answer.outcome);
      else waiting.reject(thawError(answer.error));
      next();
    };
    const onEnd = (error: unknown): void => {
      settle();
      started -= 1; // the thread is gone
      waiting.reject(error instanceof Error ? error : new Error("the job was ended"));
      next();
    };
    thread.on("message", onMessage);
    thread.on("error", onEnd);
    thread.on("exit", onEnd);
    thread.postMessage(waiting.job);
    if (mayGrow) next(); // what else waits has its time
  };
  return {
    run(id, job) {
      return new Promise((resolve, reject) => {
        if (job.kind === "measure" && job.background) {
          background.push({ id, job, resolve, reject });
          setTimeout(() => next(), BACKGROUND_AFTER_MS);
          return;
        }
        queue.push({ id, job, resolve, reject });
        next();
      });
    },
    warm() {
      if (started === 0) idle.push(start());
    },
    stop(id) {
      for (const jobs of [queue, background]) {
        const index = jobs.findIndex((waiting) => waiting.id === id);
        if (index >= 0) jobs.splice(index, 1)[0]?.reject(new Error("the job was ended"));
      }
      // Ends between two system calls, whatever loop it is in; the threads it has started go with it.
      const thread = running.get(id);
      if (thread !== undefined) end(id, thread, LOADED_TRIES);
    },
  };
}
