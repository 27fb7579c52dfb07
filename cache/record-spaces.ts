// The spaces of the records: all there are, who writes each, and what becomes of it when disk space is given back.

export interface RecordSpace {
  /** The file that says what a value is. */
  readonly owner: string;
  /** What `du` says of it. */
  readonly holds: string;
  /**
   * own: each record is an entry of `du` and goes by itself.
   * counted-elsewhere: it is about a layer or an image, which is the entry, and goes with that.
   * mark: one small record of the store itself; no entry.
   * bounded: one entry for all of it, which stays: it is bounded, or small and of use for long.
   * cheap: one entry for all of it, which `prune --all` takes: it is had again by asking once more.
   */
  readonly kept: "own" | "counted-elsewhere" | "mark" | "bounded" | "cheap";
}

export const RECORD_SPACES: Readonly<Record<string, RecordSpace>> = {
  image: { owner: "cache/image-record.ts", holds: "names of images", kept: "counted-elsewhere" },
  layer: { owner: "cache/layer-store.ts", holds: "layers", kept: "counted-elsewhere" },
  unsynced: { owner: "cache/layer-store.ts", holds: "layers not yet flushed", kept: "counted-elsewhere" },
  result: { owner: "solver/records.ts", holds: "results of steps", kept: "own" },
  stat: { owner: "cache/stat-cache.ts", holds: "digests of a context's files", kept: "own" },
  trace: {
    owner: "solver/traces.ts",
    holds: "what earlier builds were made of, for explain",
    kept: "bounded",
  },
  "selection-files": {
    owner: "cache/selection-files.ts",
    holds: "files of contexts, for explain",
    kept: "bounded",
  },
  selection: { owner: "worker/worker.ts", holds: "digests of files in layers", kept: "bounded" },
  materialized: { owner: "worker/worker.ts", holds: "contexts kept as layers", kept: "bounded" },
  duration: { owner: "solver/records.ts", holds: "how long steps take", kept: "bounded" },
  output: { owner: "solver/records.ts", holds: "layers that steps made before", kept: "bounded" },
  ceiling: { owner: "cache/ceiling.ts", holds: "how large the store was", kept: "mark" },
  store: { owner: "cache/image-names.ts", holds: "whether its names are complete", kept: "mark" },
  made: { owner: "cache/made-here.ts", holds: "layers of images that were made here", kept: "bounded" },
  built: { owner: "bin/engine/build.ts", holds: "Dockerfiles that were built to their end", kept: "cheap" },
  http: { owner: "worker/sources/http.ts", holds: "what was downloaded by URL", kept: "cheap" },
  "git-time": { owner: "worker/sources/git.ts", holds: "times of commits", kept: "cheap" },
  machine: { owner: "worker/probe.ts", holds: "what this machine allows", kept: "cheap" },
};

/** Those whose records are one entry together, with their name. */
export function summedSpaces(): readonly (RecordSpace & { readonly space: string })[] {
  return Object.entries(RECORD_SPACES)
    .filter(([, { kept }]) => kept === "bounded" || kept === "cheap")
    .map(([space, about]) => ({ ...about, space }));
}
