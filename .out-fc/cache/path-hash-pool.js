// Hashing on threads: for contexts so large that one core would be waited for.
import { Worker } from "node:worker_threads";
import { BuildError } from "../solver/graph/error.js";
/** More do not help: two cores already hash as fast as most disks read. */
const THREADS = 2;
/** sha256 and size of files below `root`, in the order given; waits for its threads also when it is cancelled. Rejects
 *  with the error of the first file that cannot be read, or the signal's reason. */
export async function hashOnThreads(root, files, signal) {
    // Large files first: the last one to be taken should be short.
    const order = files.map((_, index) => index);
    order.sort((a, b) => (files[b]?.size ?? 0) - (files[a]?.size ?? 0));
    const data = {
        root,
        paths: order.map((index) => files[index]?.path ?? ""),
        next: new Int32Array(new SharedArrayBuffer(4)),
    };
    const contents = [];
    const answers = await Promise.allSettled(Array.from({ length: THREADS }, () => runThread(data, signal)));
    for (const answer of answers) {
        if (answer.status === "rejected")
            throw answer.reason;
        for (const [taken, digest, size] of answer.value)
            contents[order[taken]] = { digest, size };
    }
    return contents;
}
function runThread(data, signal) {
    return new Promise((resolve, reject) => {
        const worker = new Worker(new URL("./path-hash-thread.js", import.meta.url), { workerData: data });
        let answer = null;
        const stop = () => {
            Atomics.store(data.next, 0, data.paths.length); // the threads see that nothing is left, and end
        };
        signal.addEventListener("abort", stop, { once: true });
        worker.on("message", (message) => {
            answer = message;
        });
        let failure = null;
        worker.on("error", (error) => {
            failure = error;
            stop();
        });
        worker.on("exit", () => {
            signal.removeEventListener("abort", stop);
            if (signal.aborted)
                reject(signal.reason);
            else if (answer === null)
                reject(failure ?? new Error("a hashing thread ended without an answer"));
            else if ("failed" in answer)
                reject(new BuildError(answer.failed.code, answer.failed.message, answer.failed));
            else
                resolve(answer.hashed);
        });
    });
}
//# sourceMappingURL=path-hash-pool.js.map