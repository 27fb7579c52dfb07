// [thread] Hashes files of a live directory until none is left.

import { parentPort, workerData } from "node:worker_threads";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { hashFile, readFailure } from "./path-hash.ts";
import type { HashThreadAnswer, HashThreadData } from "./path-hash-pool.ts";
import { bytesOf, textOf } from "./tree.ts";
import { type LiveFiles, openLiveFiles } from "./tree-live.ts";

parentPort?.postMessage(answer(workerData as HashThreadData));

function answer({ root, paths, next }: HashThreadData): HashThreadAnswer {
  const hashed: [number, Digest, number][] = [];
  let files: LiveFiles | null = null;
  let current = "";
  try {
    files = openLiveFiles(root);
    for (let index = Atomics.add(next, 0, 1); index < paths.length; index = Atomics.add(next, 0, 1)) {
      current = paths[index] as string;
      const { digest, size } = hashFile(files.open(current));
      hashed.push([index, digest, size]);
    }
    return { hashed };
  } catch (error) {
    Atomics.store(next, 0, paths.length); // nothing is left for the other thread either
    if (error instanceof Error && "path" in error) error.path = textOf(`${bytesOf(root)}/${current}`);
    const failure = readFailure(error);
    if (!(failure instanceof BuildError)) throw failure;
    // Classes do not cross between threads.
    const { code, message, hint } = failure;
    return { failed: { code, message, hint } };
  } finally {
    files?.close();
  }
}
