// [thread of the keeper] Runs one job at a time with synchronous calls. Each kind loads only what it needs.
import { parentPort, workerData } from "node:worker_threads";
import { freezeError } from "./wire-error.js";
const { singleId } = workerData;
async function run(job) {
    switch (job.kind) {
        case "file":
            return (await import("../ops/file.js")).runFileJob(job, { singleId });
        case "materialize":
            return (await import("../ops/materialize.js")).materialize(job, { singleId });
        case "read":
            return (await import("../ops/materialize.js")).readInRoot(job);
        case "select":
            return (await import("../ops/select.js")).runSelectJob(job);
        case "apply":
            return (await import("../../cache/layers/apply.js")).applyLayer(job);
        case "pack":
            return (await import("../../cache/layers/pack.js")).packLayer(job);
        case "recompress":
            return (await import("../../cache/layers/pack.js")).recompressLayer({ ...job, epochSeconds: null });
        case "export":
            return (await import("../ops/export.js")).runExportJob(job);
        case "measure":
            return (await import("../../cache/layers/tree-size.js")).measureTree(job.dir);
        case "remove": {
            const { removeTree } = await import("../../cache/layers/tree-size.js");
            for (const path of job.paths)
                removeTree(path);
            return null;
        }
    }
}
parentPort?.on("message", (job) => {
    run(job).then((outcome) => parentPort?.postMessage({ outcome }), (error) => parentPort?.postMessage({ error: freezeError(error) }));
});
//# sourceMappingURL=thread.js.map