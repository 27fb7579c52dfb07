// [thread] Hashes files of a live directory until none is left.
import { parentPort, workerData } from "node:worker_threads";
import { BuildError } from "../solver/graph/error.js";
import { hashFile, readFailure } from "./path-hash.js";
import { bytesOf, nativePath } from "./tree.js";
import { openRegular } from "./tree-live.js";
parentPort?.postMessage(answer(workerData));
function answer({ root, paths, next }) {
    const rootBytes = bytesOf(root);
    const hashed = [];
    try {
        for (let index = Atomics.add(next, 0, 1); index < paths.length; index = Atomics.add(next, 0, 1)) {
            const path = paths[index];
            const { digest, size } = hashFile(openRegular(nativePath(`${rootBytes}/${path}`), path));
            hashed.push([index, digest, size]);
        }
        return { hashed };
    }
    catch (error) {
        Atomics.store(next, 0, paths.length); // nothing is left for the other thread either
        const failure = readFailure(error);
        if (!(failure instanceof BuildError))
            throw failure;
        // Classes do not cross between threads.
        const { code, message, hint } = failure;
        return { failed: { code, message, hint } };
    }
}
//# sourceMappingURL=path-hash-thread.js.map