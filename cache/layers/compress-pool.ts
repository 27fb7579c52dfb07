// A pool of threads that compress blocks, or many frames at once.

import { Worker } from "node:worker_threads";
import { entryOf } from "../../solver/graph/entry.ts";
import type { BlockCodec } from "./compress-block.ts";
import type { Frames, FramesTask } from "./compress-frames.ts";

export interface BlockTask {
  readonly kind: "block";
  readonly codec: BlockCodec;
  readonly data: Uint8Array;
  readonly dictionary: Uint8Array | null;
}
export type CompressTask = BlockTask | ({ readonly kind: "frames" } & FramesTask);
export type CompressAnswer = { readonly result: Uint8Array | Frames } | { readonly message: string };

export interface CompressThreads {
  /** Compresses a block in some thread; its bytes are copied. */
  run(codec: BlockCodec, data: Uint8Array, dictionary: Uint8Array | null): Promise<Uint8Array>;
  /** Compresses frames in some thread, which takes the memory of the data over. */
  frames(task: FramesTask): Promise<Frames>;
  /** Ends the threads; what still runs is dropped. */
  close(): Promise<void>;
}

interface Job {
  readonly task: CompressTask;
  readonly transfer: readonly ArrayBuffer[];
  readonly resolve: (result: Uint8Array | Frames) => void;
  readonly reject: (error: Error) => void;
}

/** Opens `count` threads; each is started when there is work for it. */
export function openThreads(count: number): CompressThreads {
  const waiting: Job[] = [];
  const idle: Worker[] = [];
  const busy = new Map<Worker, Job>();

  function dispatch(): void {
    while (waiting.length > 0) {
      const worker = idle.pop() ?? (busy.size < count ? startThread() : null);
      if (worker === null) return;
      const job = waiting.shift() as Job;
      busy.set(worker, job);
      worker.postMessage(job.task, job.transfer);
    }
  }

  function startThread(): Worker {
    const { file, argv } = entryOf("compress-thread", new URL("./compress-thread.js", import.meta.url));
    const worker = new Worker(file, { argv: [...argv] });
    worker.on("message", (answer: CompressAnswer) => {
      const job = busy.get(worker);
      busy.delete(worker);
      idle.push(worker);
      if ("result" in answer) job?.resolve(answer.result);
      else job?.reject(new Error(answer.message));
      dispatch();
    });
    worker.on("error", (error: Error) => {
      const job = busy.get(worker);
      busy.delete(worker);
      job?.reject(error);
      dispatch(); // the thread is gone; what waits gets another, or its error
    });
    return worker;
  }

  const start = <T extends Uint8Array | Frames>(
    task: CompressTask,
    transfer: readonly ArrayBuffer[],
  ): Promise<T> =>
    new Promise((resolve, reject) => {
      waiting.push({ task, transfer, resolve: resolve as Job["resolve"], reject });
      dispatch();
    });

  return {
    run: (codec, data, dictionary) => start({ kind: "block", codec, data, dictionary }, []),
    frames: (task) => start({ kind: "frames", ...task }, [task.data.buffer as ArrayBuffer]),
    close: async () => {
      const workers = [...idle, ...busy.keys()];
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
