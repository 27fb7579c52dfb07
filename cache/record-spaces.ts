// All spaces of the records: who writes each, and how pruning treats it.

export interface RecordSpace {
  /** The file that says what a value is. */
  readonly owner: string;
  /** What `du` says of it. */
  readonly holds: string;
  /**
   * own: each record is an entry of `du` and is removed by itself (`stat` only with `prune --all`).
   * counted-elsewhere: it is about a layer or an image, which is the entry, and goes with that.
   * mark: one small record of the store itself; no entry.
   * bounded: one entry for all of it, which stays: it is bounded, or small and of use for long.
   * cheap: one entry for all of it, which `prune --all` takes: it is recreated by asking once more.
   */
  readonly kept: "own" | "counted-elsewhere" | "mark" | "bounded" | "cheap";
}

export const RECORD_SPACES: Readonly<Record<string, RecordSpace>> = {
  image: { owner: "cache/image-record.ts", holds: "image names", kept: "counted-elsewhere" },
  layer: { owner: "cache/layer-store.ts", holds: "layers", kept: "counted-elsewhere" },
  unsynced: {
    owner: "cache/layer-store.ts",
    holds: "layers not yet flushed to disk",
    kept: "counted-elsewhere",
  },
  result: { owner: "solver/records.ts", holds: "cached steps", kept: "own" },
  stat: { owner: "cache/stat-cache.ts", holds: "digests of build context files", kept: "own" },
  seen: {
    owner: "cache/selection-memory.ts",
    holds: "digests of unchanged build contexts",
    kept: "cheap",
  },
  trace: {
    owner: "solver/traces.ts",
    holds: "inputs of earlier builds, for explain",
    kept: "bounded",
  },
  "selection-files": {
    owner: "cache/selection-files.ts",
    holds: "lists of build context files, for explain",
    kept: "bounded",
  },
  selection: { owner: "worker/worker.ts", holds: "digests of files in layers", kept: "bounded" },
  materialized: { owner: "worker/worker.ts", holds: "build contexts stored as layers", kept: "bounded" },
  duration: { owner: "solver/records.ts", holds: "durations of steps", kept: "bounded" },
  output: { owner: "solver/records.ts", holds: "earlier outputs of steps", kept: "bounded" },
  ceiling: { owner: "cache/ceiling.ts", holds: "size of the store", kept: "mark" },
  store: { owner: "cache/image-names.ts", holds: "whether image names are complete", kept: "mark" },
  made: { owner: "cache/made-here.ts", holds: "layers of images that were built here", kept: "bounded" },
  built: {
    owner: "bin/engine/dockerfile.ts",
    holds: "Dockerfiles that were built successfully",
    kept: "cheap",
  },
  blocks: { owner: "cache/block-indexes.ts", holds: "blocks of compressed layers", kept: "cheap" },
  http: { owner: "worker/sources/http.ts", holds: "downloads by URL", kept: "cheap" },
  "git-time": { owner: "worker/sources/git.ts", holds: "git commit times", kept: "cheap" },
  origin: { owner: "cache/origins.ts", holds: "repositories of images", kept: "cheap" },
  machine: { owner: "worker/probe.ts", holds: "capabilities of this machine", kept: "cheap" },
};

/** Those whose records are one entry together, with their name. */
export function summedSpaces(): readonly (RecordSpace & { readonly space: string })[] {
  return Object.entries(RECORD_SPACES)
    .filter(([, { kept }]) => kept === "bounded" || kept === "cheap")
    .map(([space, about]) => ({ ...about, space }));
}
