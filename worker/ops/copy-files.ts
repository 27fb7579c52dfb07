// [keeper] Copies the files of one copy action, on two cores if there are many. Creating a file takes the kernel some 60 µs and hashing
// runs at 1 to 2 GB a second, and neither waits for another thread.

import { availableParallelism } from "node:os";
import { workerData } from "node:worker_threads";
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
  readonly files: readonly FileCopy[];
  readonly source: { readonly root: number; readonly live: boolean };
  readonly place: number;
  /** First file of each chunk. */
  readonly chunks: readonly number[];
  /** One shared counter: the next chunk nobody has taken yet. */
  readonly next: Int32Array;
}
/** The files a thread has copied, by index. */
type Copied = (readonly [index: number, content: Content])[];

export interface CopyFilesContext {
  readonly source: TreeReader;
  readonly sourceRoot: number | null;
  readonly place: Place;
  readonly idMode: IdMode;
}

/** A file costs as much as this many bytes more than it holds. */
const FILE_COST_BYTES = 32 * 1024;
/** With less to do the thread would come too late: it takes 40 ms to start. */
const THREADS_MIN_COST_BYTES = 48 * 1024 * 1024;
/** What is taken at a time: small enough that both end together, large enough to stay in one directory. */
const CHUNK_COST_BYTES = 2 * 1024 * 1024;

/** Copies the files and tells the content of each, in their order (see copyFile); the directories they go to exist.
 *  Throws as copyFile does; what was copied until then stays. */
export async function copyFiles(files: readonly FileCopy[], context: CopyFilesContext): Promise<Content[]> {
  const { source, sourceRoot, place, idMode } = context;
  const cost = files.reduce((sum, { size }) => sum + size + FILE_COST_BYTES, 0);
  if (sourceRoot === null || cost < THREADS_MIN_COST_BYTES || availableParallelism() < 2) {
    return files.map((file) => copyFile(source, place, file, idMode));
  }
  const job: CopyFilesJob = {
    kind: "copy-files",
    files,
    source: { root: sourceRoot, live: source.live },
    place: place.tree.root,
    chunks: chunksOf(files),
    next: new Int32Array(new SharedArrayBuffer(4)),
  };
  const helped = runHelper(job, idMode);
  helped.catch(() => {}); // heard below; until then this thread is busy
  const contents: Content[] = [];
  const keep = (copied: Copied): void => {
    for (const [index, content] of copied) contents[index] = content;
  };
  try {
    keep(copyChunks(job, source, place, idMode));
  } catch (error) {
    // The tree is not left while another thread is at work in it.
    await Promise.allSettled([helped]);
    throw error;
  }
  keep(await helped);
  return contents;
}

/** Runs in the helping thread. */
export function helpCopyFiles(job: CopyFilesJob, idMode: IdMode): Copied {
  return inWords("copy", () => {
    const again = (fd: number): number => openat(fd, ".", O.RDONLY | O.DIRECTORY);
    const source = fdTree(again(job.source.root), { live: job.source.live });
    try {
      const place = openPlace(again(job.place), idMode);
      try {
        return copyChunks(job, source, place, idMode);
      } finally {
        place.close();
      }
    } finally {
      source.close();
    }
  });
}

/** Copies until no chunk is left; after a failure none is left for the other thread either. */
function copyChunks(job: CopyFilesJob, source: TreeReader, place: Place, idMode: IdMode): Copied {
  const { files, chunks, next } = job;
  const copied: Copied = [];
  try {
    for (let chunk = Atomics.add(next, 0, 1); chunk < chunks.length; chunk = Atomics.add(next, 0, 1)) {
      const end = chunks[chunk + 1] ?? files.length;
      for (let index = chunks[chunk] as number; index < end; index++) {
        copied.push([index, copyFile(source, place, files[index] as FileCopy, idMode)]);
      }
    }
    return copied;
  } catch (error) {
    Atomics.store(next, 0, chunks.length);
    throw error;
  }
}

function chunksOf(files: readonly FileCopy[]): number[] {
  const chunks: number[] = [];
  let room = 0;
  for (const [index, { size }] of files.entries()) {
    if (room <= 0) {
      chunks.push(index);
      room = CHUNK_COST_BYTES;
    }
    room -= size + FILE_COST_BYTES;
  }
  return chunks;
}

async function runHelper(job: CopyFilesJob, { singleId }: IdMode): Promise<Copied> {
  const thread = startThread({ ...(workerData as ThreadData), singleId });
  try {
    const answer = await new Promise<ThreadAnswer>((resolve, reject) => {
      thread.once("message", resolve);
      thread.once("error", reject);
      thread.postMessage(job);
    });
    if ("error" in answer) throw thawError(answer.error);
    return answer.outcome as Copied;
  } finally {
    await thread.terminate();
  }
}
