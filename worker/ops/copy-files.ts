// [keeper] Copies the files of one copy action, on two cores if there are many: a second thread begins while the first one still walks the
// source. Creating a file takes the kernel some 60 µs and hashing runs at 1 to 2 GB a second, and neither waits for another thread.

import { availableParallelism } from "node:os";
import { MessageChannel, type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import type { Content } from "../../cache/path-hash.ts";
import type { TreeReader } from "../../cache/tree.ts";
import { startThread, type ThreadAnswer, type ThreadData } from "../keeper/threads.ts";
import { thawError } from "../keeper/wire-error.ts";
import { openat } from "../sys/file.ts";
import { inWords } from "./failure.ts";
import { fdTree } from "./fd-tree.ts";
import { type IdMode, openPlace, type Place } from "./place.ts";
import { copyFile, type FileCopy } from "./transfer.ts";
import { O } from "../sys/constants.ts";

/** What a helping thread is asked. Descriptors count in the whole process. */
export interface CopyFilesJob {
  readonly kind: "copy-files";
  readonly source: { readonly root: number; readonly live: boolean };
  readonly place: number;
  /** Brings the chunks, in their order. */
  readonly chunks: MessagePort;
  readonly shared: Int32Array;
}
/** Words that both threads share. NEXT: the next chunk that nobody has taken yet; READY: how many have been sent; CLOSED: 1 when no
 *  more will be; CHANGE: counts changes of the others, to be waited for. */
const [NEXT, READY, CLOSED, CHANGE] = [0, 1, 2, 3] as const;
/** Of NEXT after a failure: nothing is left for anybody. */
const NOTHING_LEFT = 2 ** 30;

/** Files to be copied one after the other, by their index. */
interface Chunk {
  readonly first: number;
  readonly files: readonly FileCopy[];
}
/** The files a thread has copied, by index. */
type Copied = (readonly [index: number, content: Content])[];

export interface CopyFilesContext {
  readonly source: TreeReader;
  readonly sourceRoot: number | null;
  readonly place: Place;
  readonly idMode: IdMode;
}

export interface FileCopies {
  /** Takes a file whose directory is there: it is copied at any time from now on. Returns its index. */
  add(file: FileCopy): number;
  /** Copies what is left, and tells the content of each (see copyFile). Throws as copyFile does; what was copied until then stays. */
  finish(): Promise<readonly Content[]>;
  /** After a failure of something else: resolves when nothing is copied any more. */
  abandon(): Promise<void>;
}

/** A file costs as much as this many bytes more than it holds. */
const FILE_COST_BYTES = 32 * 1024;
/** With less to do the thread would come too late: it takes 40 ms to start. */
const THREADS_MIN_COST_BYTES = 48 * 1024 * 1024;
/** What is taken at a time: small enough that both end together, large enough to stay in one directory. */
const CHUNK_COST_BYTES = 2 * 1024 * 1024;

/** Starts nothing before there is much to do. */
export function openFileCopies(context: CopyFilesContext): FileCopies {
  const { source, sourceRoot, place, idMode } = context;
  const chunks: Chunk[] = [];
  let pending: FileCopy[] = [];
  let room = CHUNK_COST_BYTES;
  let cost = 0;
  let count = 0;
  let helper: ReturnType<typeof startHelper> | null = null;

  const seal = (): void => {
    if (pending.length === 0) return;
    const chunk = { first: count - pending.length, files: pending };
    chunks.push(chunk);
    helper?.send(chunk);
    pending = [];
    room = CHUNK_COST_BYTES;
  };
  return {
    add(file) {
      pending.push(file);
      room -= file.size + FILE_COST_BYTES;
      cost += file.size + FILE_COST_BYTES;
      count++;
      if (room <= 0) seal();
      if (helper === null && sourceRoot !== null && cost >= THREADS_MIN_COST_BYTES && PROCESSORS > 1) {
        helper = startHelper({ root: sourceRoot, live: source.live }, place.tree.root, idMode);
        for (const chunk of chunks) helper.send(chunk);
      }
      return count - 1;
    },
    async finish() {
      seal();
      const contents: Content[] = [];
      const keep = (copied: Copied): void => {
        for (const [index, content] of copied) contents[index] = content;
      };
      if (helper === null) {
        for (const chunk of chunks) keep(copyChunk(chunk, source, place, idMode));
        return contents;
      }
      helper.close();
      try {
        for (let next = helper.take(); next < chunks.length; next = helper.take())
          keep(copyChunk(chunks[next] as Chunk, source, place, idMode));
      } catch (error) {
        await this.abandon();
        throw error;
      }
      keep(await helper.copied);
      return contents;
    },
    // The tree is not left while another thread is at work in it.
    async abandon() {
      helper?.stop();
      await helper?.copied.catch(() => {}); // something else has failed before
    },
  };
}

const PROCESSORS = availableParallelism();

/** Runs in the helping thread. */
export function helpCopyFiles(job: CopyFilesJob, idMode: IdMode): Copied {
  return inWords("copy", () => {
    const again = (fd: number): number => openat(fd, ".", O.RDONLY | O.DIRECTORY);
    const source = fdTree(again(job.source.root), { live: job.source.live });
    try {
      const place = openPlace(again(job.place), idMode);
      try {
        return copyWhatComes(job, source, place, idMode);
      } finally {
        place.close();
      }
    } finally {
      source.close();
    }
  });
}

/** Takes chunks as they come, until there are no more. */
function copyWhatComes(job: CopyFilesJob, source: TreeReader, place: Place, idMode: IdMode): Copied {
  const { chunks, shared } = job;
  const known: Chunk[] = [];
  const copied: Copied = [];
  try {
    for (;;) {
      const next = Atomics.add(shared, NEXT, 1);
      if (!waitFor(next, shared)) return copied;
      while (known.length <= next) {
        const received = receiveMessageOnPort(chunks) as { readonly message: Chunk } | undefined;
        if (received === undefined) throw new Error(`chunk ${known.length} of the files was not sent`);
        known.push(received.message);
      }
      copied.push(...copyChunk(known[next] as Chunk, source, place, idMode));
    }
  } catch (error) {
    Atomics.store(shared, NEXT, NOTHING_LEFT);
    throw error;
  } finally {
    chunks.close();
  }
}

/** False: there will be no such chunk. */
function waitFor(chunk: number, shared: Int32Array): boolean {
  for (;;) {
    const change = Atomics.load(shared, CHANGE);
    if (chunk >= NOTHING_LEFT) return false;
    if (Atomics.load(shared, READY) > chunk) return true;
    if (Atomics.load(shared, CLOSED) === 1) return false;
    Atomics.wait(shared, CHANGE, change);
  }
}

function copyChunk({ first, files }: Chunk, source: TreeReader, place: Place, idMode: IdMode): Copied {
  return files.map((file, index) => [first + index, copyFile(source, place, file, idMode)] as const);
}

/** Starts a thread that takes what is sent; `copied` is what it made of it. */
function startHelper(source: CopyFilesJob["source"], place: number, { singleId }: IdMode) {
  const shared = new Int32Array(new SharedArrayBuffer(16));
  const { port1: own, port2: chunks } = new MessageChannel();
  const change = (word: number, value: number): void => {
    Atomics.store(shared, word, value);
    Atomics.add(shared, CHANGE, 1);
    Atomics.notify(shared, CHANGE);
  };
  const thread = startThread({ ...(workerData as ThreadData), singleId });
  const run = async (): Promise<Copied> => {
    try {
      const answer = await new Promise<ThreadAnswer>((resolve, reject) => {
        thread.once("message", resolve);
        thread.once("error", reject);
        thread.postMessage({ kind: "copy-files", source, place, chunks, shared } satisfies CopyFilesJob, [
          chunks,
        ]);
      });
      if ("error" in answer) throw thawError(answer.error);
      return answer.outcome as Copied;
    } finally {
      own.close();
      await thread.terminate();
    }
  };
  const copied = run();
  copied.catch(() => {}); // heard by who asks for it; until then its thread is busy
  let sent = 0;
  return {
    copied,
    send(chunk: Chunk): void {
      own.postMessage(chunk);
      change(READY, ++sent);
    },
    close: () => change(CLOSED, 1),
    take: () => Atomics.add(shared, NEXT, 1),
    stop(): void {
      Atomics.store(shared, NEXT, NOTHING_LEFT);
      change(CLOSED, 1);
    },
  };
}
