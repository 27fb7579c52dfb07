// [keeper] The pool of threads that run jobs on files with synchronous calls, so that the message loop never waits.
import { Worker } from "node:worker_threads";
import { thawError } from "./wire-error.js";
/** At most `count` threads, started when first needed and kept. */
export function openJobThreads(count, singleId) {
    const idle = [];
    const queue = [];
    let started = 0;
    const start = () => {
        started += 1;
        return new Worker(new URL("./thread.js", import.meta.url), {
            workerData: { singleId },
            resourceLimits: { maxYoungGenerationSizeMb: 8 },
        });
    };
    const next = () => {
        const waiting = queue[0];
        if (waiting === undefined)
            return;
        const thread = idle.pop() ?? (started < count ? start() : null);
        if (thread === null)
            return;
        queue.shift();
        const settle = () => {
            thread.off("message", onMessage);
            thread.off("error", onError);
        };
        const onMessage = (answer) => {
            settle();
            idle.push(thread);
            if ("outcome" in answer)
                waiting.resolve(answer.outcome);
            else
                waiting.reject(thawError(answer.error));
            next();
        };
        const onError = (error) => {
            settle();
            started -= 1; // the thread is gone
            waiting.reject(error);
            next();
        };
        thread.on("message", onMessage);
        thread.on("error", onError);
        thread.postMessage(waiting.job);
    };
    idle.push(start());
    return {
        run(job) {
            return new Promise((resolve, reject) => {
                queue.push({ job, resolve, reject });
                next();
            });
        },
    };
}
//# sourceMappingURL=threads.js.map