// [thread of the keeper] Runs one job at a time with synchronous calls. Each kind loads only what it needs.

import { parentPort, workerData } from "node:worker_threads";
import { bindAll } from "../sys/bind-all.ts";
import type { ThreadJob } from "./messages.ts";
import type { CopyFilesJob } from "../ops/copy-files.ts";
import type { ThreadAnswer, ThreadData } from "./threads.ts";
import { freezeError } from "./freeze-error.ts";

const { singleId, loading } = workerData as ThreadData;
// Before there is a job, which could be cancelled meanwhile.
bindAll();
if (loading !== undefined) Atomics.sub(loading, 0, 1);

async function run(job: ThreadJob | CopyFilesJob): Promise<unknown> {
  switch (job.kind) {
    case "copy-files":
      return (await import("../ops/copy-files.ts")).helpCopyFiles(job, { singleId });
    case "file":
      return (await import("../ops/file.ts")).runFileJob(job, { singleId });
    case "materialize":
      return (await import("../ops/materialize.ts")).materialize(job, { singleId });
    case "diff":
      return (await import("../ops/diff.ts")).runDiffJob(job, { singleId });
    case "read":
      return (await import("../ops/materialize.ts")).readInRoot(job);
    case "look":
      return (await import("../ops/look.ts")).look(job);
    case "select":
      return (await import("../ops/select.ts")).runSelectJob(job);
    case "apply": {
      const notes: string[] = [];
      const { applyLayer } = await import("../../cache/layers/apply.ts");
      return { ...(await applyLayer(job, (message) => notes.push(message))), notes };
    }
    case "plain":
      return (await import("../../cache/layers/apply.ts")).plainDigest(job.blob);
    case "pack":
      return (await import("../../cache/layers/pack.ts")).packLayer(job);
    case "recompress":
      return (await import("../../cache/layers/pack.ts")).recompressLayer({ ...job, epochSeconds: null });
    case "export":
      return (await import("../ops/export.ts")).runExportJob(job);
    case "digests":
      return (await import("../ops/export.ts")).runDigestsJob(job);
    case "measure":
      return (await import("../../cache/layers/listing.ts")).measureLayer(job);
    case "scan":
      return (await import("../ops/sbom.ts")).runScanJob(job);
    case "layer-of":
      return (await import("../ops/layer-of.ts")).runLayerOfJob(job);
    case "pack-mount":
      return (await import("../../cache/remote-cache/mount-pack.ts")).packMount(job);
    case "restore-mount":
      return (await import("../../cache/remote-cache/mount-restore.ts")).restoreMount(job);
    case "sync":
      return (await import("../ops/sync.ts")).syncDirectory(job.dir);
    case "strip":
      (await import("../../cache/layers/owner.ts")).stripForged(job.dir);
      return null;
    case "drop-unchanged":
      (await import("../ops/unchanged.ts")).dropUnchanged(job.upper, job.below);
      return null;
    case "remove": {
      const { removeTree } = await import("../../cache/layers/remove-tree.ts");
      for (const path of job.paths) removeTree(path);
      return null;
    }
  }
}

parentPort?.on("message", (job: ThreadJob | CopyFilesJob) => {
  run(job).then(
    (outcome) => parentPort?.postMessage({ outcome } satisfies ThreadAnswer),
    (error: unknown) => parentPort?.postMessage({ error: freezeError(error) } satisfies ThreadAnswer),
  );
});
