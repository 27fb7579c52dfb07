// [keeper] Jobs that take less time than a thread takes to start (35 ms, and 40 ms of CPU): those on the layer of a small first step.

import { isSmallTree, measureLayer } from "../../cache/layers/listing.ts";
import type { ThreadJob } from "./messages.ts";

/** What does the job in this thread; null if it may take long, or needs what only threads load. */
export function smallJob(job: ThreadJob): (() => Promise<unknown>) | null {
  switch (job.kind) {
    case "pack":
      return job.out !== null || !isSmallTree(job.dir)
        ? null
        : async () => (await import("../../cache/layers/pack.ts")).packLayer(job);
    case "measure":
      return isSmallTree(job.dir) ? async () => measureLayer(job) : null;
    case "sync":
      return job.isBrief ? async () => (await import("../ops/sync.ts")).syncDirectory(job.dir) : null;
    default:
      return null;
  }
}
