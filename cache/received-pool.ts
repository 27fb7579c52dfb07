// Files that the other side of a connection sends, written and hashed on threads: making a file takes the kernel some 60 µs and may wait for
// the disk, and whoever reads the connection would wait with it.

import { Worker } from "node:worker_threads";
import { entryOf } from "../solver/graph/entry.ts";
import { SysError } from "../worker/sys/libc.ts";
import type { FileSink, NewFile, WrittenFile } from "./received-file.ts";

/** What the reading of a connection leaves of two cores; more do not make files faster. */
const THREADS = 2;
/** What goes to a thread at a time: small enough that all end together, large enough that a message costs nothing. */
const BATCH_BYTES = 512 << 10;
const BATCH_FILES = 128;
/** Bytes that wait for the disk. */
const PENDING_MAX_BYTES = 16 << 20;

/** What a thread is started with: a descriptor of the directory; descriptors count in the whole process. */
export interface ReceivedThreadData {
  readonly root: number;
}

/** Bytes of a file, as they follow in the batch's data. `file`: in its first piece. */
interface Piece {
  readonly file: NewFile | null;
  readonly size: number;
  readonly isLast: boolean;
}
export interface FilesBatch {
  readonly pieces: readonly Piece[];
  readonly data: Uint8Array;
}
export type ReceivedThreadAnswer =
  | { readonly written: readonly WrittenFile[] }
  | { readonly failed: { readonly call: string; readonly errnum: number } };

export interface FileThreads extends FileSink, AsyncDisposable {
  /** Resolves when all files are written. Rejects with the SysError of the first that could not be. */
  finish(): Promise<void>;
}

interface Thread {
  readonly worker: Worker;
  readonly ended: Promise<void>;
  /** Bytes of the batches it has not answered yet, in their order. */
  readonly asked: number[];
}

/** Starts threads that write below `root`, a descriptor that is kept open until this is disposed; the directories are there. */
export function openFileThreads(root: number, onWritten: (file: WrittenFile) => void): FileThreads {
  const threads: Thread[] = [];
  let failure: Error | null = null;
  let pendingBytes = 0;
  /** Who waits until less is pending, or nothing. */
  let waiting: { readonly below: number; readonly wake: () => void } | null = null;
  let turn = 0;
  let pieces: Piece[] = [];
  let chunks: Uint8Array[] = [];
  let bytes = 0;
  /** Of the file that is being sent: its bytes since the last batch. */
  let open: { first: NewFile | null; size: number } | null = null;

  const wake = (): void => {
    if (waiting === null || (failure === null && pendingBytes >= waiting.below)) return;
    waiting.wake();
    waiting = null;
  };
  const fail = (error: Error): void => {
    failure ??= error;
    wake();
  };
  const start = (): Thread => {
    const { file, argv } = entryOf("received-thread", new URL("./received-thread.js", import.meta.url));
    const data: ReceivedThreadData = { root };
    // Descriptors of the thread's are opened and closed by system calls, which Node does not count.
    const worker = new Worker(file, { argv: [...argv], workerData: data, trackUnmanagedFds: false });
    const asked: number[] = [];
    const ended = new Promise<void>((resolve) => worker.on("exit", () => resolve()));
    worker.on("message", (answer: ReceivedThreadAnswer) => {
      pendingBytes -= asked.shift() ?? 0;
      if ("failed" in answer) fail(new SysError(answer.failed.call, answer.failed.errnum, ""));
      else for (const one of answer.written) onWritten(one);
      wake();
    });
    worker.on("error", fail);
    worker.on("exit", () => {
      if (asked.length > 0) fail(new Error("a writing thread ended before its files"));
    });
    return { worker, ended, asked };
  };
  /** Gives away what has come. A file that goes on stays with its thread. */
  const flush = (): void => {
    if (open !== null) pieces.push({ file: open.first, size: open.size, isLast: false });
    if (pieces.length === 0) return;
    const data = new Uint8Array(bytes);
    let at = 0;
    for (const chunk of chunks) {
      data.set(chunk, at);
      at += chunk.length;
    }
    const thread = (threads[turn] ??= start());
    const batch: FilesBatch = { pieces, data };
    // A batch of empty files counts too: nothing may be pending when all is written.
    const cost = bytes + pieces.length;
    thread.asked.push(cost);
    pendingBytes += cost;
    thread.worker.postMessage(batch, [data.buffer]);
    if (open === null) turn = (turn + 1) % THREADS;
    else open = { first: null, size: 0 };
    pieces = [];
    chunks = [];
    bytes = 0;
  };
  const until = (below: number): Promise<void> | undefined => {
    if (failure !== null) return Promise.reject(failure);
    if (pendingBytes < below) return undefined;
    return new Promise<void>((resolve) => {
      waiting = { below, wake: resolve };
    }).then(() => {
      if (failure !== null) throw failure;
    });
  };

  return {
    begin(file) {
      open = { first: file, size: 0 };
    },
    data(chunk) {
      if (open === null) return undefined;
      chunks.push(chunk);
      bytes += chunk.length;
      open.size += chunk.length;
      if (bytes < BATCH_BYTES) return undefined;
      flush();
      return until(PENDING_MAX_BYTES);
    },
    end() {
      if (open === null) return;
      pieces.push({ file: open.first, size: open.size, isLast: true });
      open = null;
      if (pieces.length >= BATCH_FILES) flush();
    },
    async finish() {
      flush();
      await until(1);
    },
    async [Symbol.asyncDispose]() {
      // Never in the middle of a call, nor while one loads native code: each ends when it has done what it was given.
      for (const { worker } of threads) worker.postMessage(null);
      await Promise.all(threads.map(({ ended }) => ended));
    },
  };
}
