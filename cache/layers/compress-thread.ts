// [thread] Compresses the blocks it receives, one after another.

import { parentPort } from "node:worker_threads";
import { compressBlock } from "./compress-block.ts";
import type { BlockAnswer, BlockTask } from "./compress-pool.ts";

parentPort?.on("message", (task: BlockTask) => {
  compressBlock(task.codec, task.data, task.dictionary).then(
    (result) => {
      // A copy of its own can be handed over without another one.
      const own = new Uint8Array(result);
      parentPort?.postMessage({ result: own } satisfies BlockAnswer, [own.buffer]);
    },
    (error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      parentPort?.postMessage({ message } satisfies BlockAnswer);
    },
  );
});
