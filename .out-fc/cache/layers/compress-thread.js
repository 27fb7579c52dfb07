// [thread] Compresses the blocks it is sent, one after another.
import { parentPort } from "node:worker_threads";
import { compressBlock } from "./compress-block.js";
parentPort?.on("message", (task) => {
    compressBlock(task.codec, task.data, task.dictionary).then((result) => {
        // A copy of its own can be handed over without another one.
        const own = new Uint8Array(result);
        parentPort?.postMessage({ result: own }, [own.buffer]);
    }, (error) => {
        const message = error instanceof Error ? error.message : String(error);
        parentPort?.postMessage({ message });
    });
});
//# sourceMappingURL=compress-thread.js.map