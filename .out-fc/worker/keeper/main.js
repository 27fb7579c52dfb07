// [process] The keeper: namespace root. Jobs on files go to threads, commands to the sandbox; answers go back to the front.
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { lazyLauncher, openSandbox } from "../sandbox/builtin.js";
import { openNetworkPool } from "../sandbox/network.js";
import { openJobThreads } from "./threads.js";
import { freezeError } from "./wire-error.js";
const settings = JSON.parse(process.argv[2] ?? "");
const { singleId } = settings;
const threads = openJobThreads(Math.max(2, availableParallelism()), singleId);
const launcher = lazyLauncher();
const network = settings.network.kind === "none"
    ? null
    : openNetworkPool(settings.network, { dir: join(settings.storeDir, "bin", "net"), launcher });
const sandbox = openSandbox({ singleId, network, launcher });
const running = new Map();
/** Output on its way to the front; above this the streams of the steps wait for it. */
const OUTPUT_PENDING_MAX_BYTES = 1 << 20;
let pendingBytes = 0;
let waiting = [];
function answer(message) {
    process.send?.(message, undefined, {}, () => {
        // A front that is gone takes this process with it; there is nobody to tell.
    });
}
function sendOutput(id, fd, data) {
    pendingBytes += data.length;
    process.send?.({ type: "output", id, fd, data }, undefined, {}, () => {
        pendingBytes -= data.length;
        if (pendingBytes > OUTPUT_PENDING_MAX_BYTES / 2)
            return;
        const woken = waiting;
        waiting = [];
        for (const wake of woken)
            wake();
    });
    if (pendingBytes <= OUTPUT_PENDING_MAX_BYTES)
        return undefined;
    return new Promise((resolve) => waiting.push(resolve));
}
function settle(id, work) {
    work.then((outcome) => answer({ type: "done", id, outcome }), (error) => answer({ type: "failed", id, error: freezeError(error) }));
}
process.on("message", (raw) => {
    const message = raw;
    switch (message.type) {
        case "job":
            settle(message.id, threads.run(message.job));
            return;
        case "exec": {
            const { id } = message;
            const exec = sandbox.exec(message.job, (fd, data) => sendOutput(id, fd, data));
            running.set(id, exec);
            settle(id, exec.outcome.finally(() => running.delete(id)));
            return;
        }
        case "kill":
            running.get(message.id)?.kill(message.signal);
            return;
        case "stdin":
            running.get(message.id)?.stdin(message.data);
            return;
        case "resize":
            running.get(message.id)?.resize(message.rows, message.columns);
            return;
        case "prepare-network":
            network?.prepare();
            return;
        case "close":
            process.exit(0);
    }
});
process.on("disconnect", () => process.exit(0));
answer({ type: "ready", pid: process.pid });
//# sourceMappingURL=main.js.map