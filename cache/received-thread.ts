// [thread] Writes batches of files that the other side of a connection sends, until there are no more.

import { parentPort, workerData } from "node:worker_threads";
import { SysError } from "../worker/sys/libc.ts";
import { fileWriter, type WrittenFile } from "./received-file.ts";
import type { FilesBatch, ReceivedThreadAnswer, ReceivedThreadData } from "./received-pool.ts";

let written: WrittenFile[] = [];
const writer = fileWriter((workerData as ReceivedThreadData).root, (file) => written.push(file));

parentPort?.on("message", (batch: FilesBatch | null) => {
  if (batch === null) {
    writer.close();
    parentPort?.close();
    return;
  }
  parentPort?.postMessage(answer(batch));
});

function answer({ pieces, data }: FilesBatch): ReceivedThreadAnswer {
  written = [];
  try {
    let at = 0;
    for (const { file, size, isLast } of pieces) {
      if (file !== null) writer.begin(file);
      if (size > 0) writer.data(data.subarray(at, at + size));
      at += size;
      if (isLast) writer.end();
    }
    return { written };
  } catch (error) {
    // Classes do not cross between threads.
    if (error instanceof SysError) return { failed: { call: error.call, errnum: error.errnum } };
    const { syscall, errno } = error as NodeJS.ErrnoException;
    if (syscall === undefined || errno === undefined) throw error;
    return { failed: { call: syscall, errnum: -errno } };
  }
}
