// Hashing in threads, for contexts too large for one core.

import type { Digest } from "../solver/graph/digest.ts";
import { entryOf } from "../solver/graph/entry.ts";
import { BuildError, type ErrorCode } from "../solver/graph/error.ts";

/** More do not help: two cores already hash as fast as most disks read. */
const THREADS = 2;

/** A file that takes longer than reopening its directory. */
const LARGE_BYTES = 1 << 20;

/** What a hashing thread is given, and what it says when it is done. */
export interface HashThreadData {
  readonly root: string;
  readonly paths: readonly string[];
  /** One shared counter: the next path nobody has taken yet. */
  readonly next: Int32Array;
}
export type HashThreadAnswer =
  | { readonly hashed: readonly (readonly [index: number, digest: Digest, size: number])[] }
  | { readonly failed: { readonly code: ErrorCode; readonly message: string; readonly hint: string | null } };

/** sha256 and size of files below `root`, in the order given; waits for its threads also when it is cancelled. Rejects
 *  with the error of the first file that cannot be read, or the signal's reason. */
export async function hashOnThreads(
  root: string,
  files: readonly { readonly path: string; readonly size: number }[],
  signal: AbortSignal,
): Promise<{ digest: Digest; size: number }[]> {
  // Large files first: the last one to be taken should be short. The small ones in walking order: neighbours share a directory.
  const order = files.map((_, index) => index);
  const weight = (index: number): number => Math.max(files[index]?.size ?? 0, LARGE_BYTES);
  order.sort((a, b) => weight(b) - weight(a));
  const data: HashThreadData = {
    root,
    paths: order.map((index) => files[index]?.path ?? ""),
    next: new Int32Array(new SharedArrayBuffer(4)),
  };
  const contents: { digest: Digest; size: number }[] = [];
  const answers = await Promise.allSettled(Array.from({ length: THREADS }, () => runThread(data, signal)));
  for (const answer of answers) {
    if (answer.status === "rejected") throw answer.reason;
    for (const [taken, digest, size] of answer.value) contents[order[taken] as number] = { digest, size };
  }
  return contents;
}

function runThread(
  data: HashThreadData,
  signal: AbortSignal,
): Promise<Extract<HashThreadAnswer, { hashed: unknown }>["hashed"]> {
  const { Worker } = process.getBuiltinModule("node:worker_threads"); // loaded when there is enough to hash
  return new Promise((resolve, reject) => {
    const thread = entryOf("hash-thread", new URL("./path-hash-thread.js", import.meta.url));
    const worker = new Worker(thread.file, { argv: [...thread.argv], workerData: data });
    let answer: HashThreadAnswer | null = null;
    const stop = (): void => {
      Atomics.store(data.next, 0, data.paths.length); // the threads see that nothing is left, and end
    };
    // Also in the middle of a file, between two reads.
    const onAbort = (): void => void worker.terminate();
    signal.addEventListener("abort", onAbort, { once: true });
    worker.on("message", (message: HashThreadAnswer) => {
      answer = message;
    });
    let failure: unknown = null;
    worker.on("error", (error) => {
      failure = error;
      stop();
    });
    worker.on("exit", () => {
      signal.removeEventListener("abort", onAbort);
      if (signal.aborted) reject(signal.reason);
      else if (answer === null) reject(failure ?? new Error("a hashing thread ended without a result"));
      else if ("failed" in answer)
        reject(new BuildError(answer.failed.code, answer.failed.message, answer.failed));
      else resolve(answer.hashed);
    });
  });
}
