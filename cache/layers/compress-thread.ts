// [thread] Compresses the blocks and frames it receives, one after another.

import { parentPort } from "node:worker_threads";
import { compressBlock } from "./compress-block.ts";
import { compressFrames } from "./compress-frames.ts";
import type { CompressAnswer, CompressTask } from "./compress-pool.ts";

parentPort?.on("message", (task: CompressTask) => {
  run(task).catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    parentPort?.postMessage({ message } satisfies CompressAnswer);
  });
});

async function run(task: CompressTask): Promise<void> {
  if (task.kind === "frames") {
    const result = await compressFrames(task);
    parentPort?.postMessage({ result } satisfies CompressAnswer, [result.data.buffer as ArrayBuffer]);
    return;
  }
  // A copy of its own can be handed over without another one.
  const own = new Uint8Array(await compressBlock(task.codec, task.data, task.dictionary));
  parentPort?.postMessage({ result: own } satisfies CompressAnswer, [own.buffer]);
}
