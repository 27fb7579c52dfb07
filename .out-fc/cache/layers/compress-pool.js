// A few threads that compress blocks.
import { Worker } from "node:worker_threads";
/** Opens `count` threads; each is started when there is work for it. */
export function openThreads(count) {
    const waiting = [];
    const idle = [];
    const busy = new Map();
    function dispatch() {
        while (waiting.length > 0) {
            const worker = idle.pop() ?? (busy.size < count ? start() : null);
            if (worker === null)
                return;
            const job = waiting.shift();
            busy.set(worker, job);
            worker.postMessage(job.task);
        }
    }
    function start() {
        const worker = new Worker(new URL("./compress-thread.js", import.meta.url));
        worker.on("message", (answer) => {
            const job = busy.get(worker);
            busy.delete(worker);
            idle.push(worker);
            if ("result" in answer)
                job?.resolve(answer.result);
            else
                job?.reject(new Error(answer.message));
            dispatch();
        });
        worker.on("error", (error) => {
            const job = busy.get(worker);
            busy.delete(worker);
            job?.reject(error);
        });
        return worker;
    }
    return {
        run: (codec, data, dictionary) => new Promise((resolve, reject) => {
            waiting.push({ task: { codec, data, dictionary }, resolve, reject });
            dispatch();
        }),
        close: async () => {
            const workers = [...idle, ...busy.keys()];
            await Promise.all(workers.map((worker) => worker.terminate()));
        },
    };
}
//# sourceMappingURL=compress-pool.js.map