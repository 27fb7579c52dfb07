// Live files are read for the keys of the steps that use them, all in parallel and before any of them runs. Meanwhile their source is
// shown as running, with the bytes used by steps and the bytes that had to be read.

import type { Digest } from "./graph/digest.ts";
import type { Reporter } from "./reporter.ts";

export interface Readings {
  /** Somebody reads of the source; `name` of its files. The last one to end ends the source. */
  begin(source: Digest, name: string): Reading;
}
export interface Reading {
  onBytes(picked: number, read: number): void;
  end(): void;
}

export function openReadings(reporter: Reporter, nowMs: () => number): Readings {
  const sources = new Map<Digest, { open: number; picked: number; read: number; isTold: boolean }>();
  return {
    begin(vertex, name) {
      const known = sources.get(vertex);
      const source = known ?? { open: 0, picked: 0, read: 0, isTold: false };
      if (known === undefined) sources.set(vertex, source);
      source.open += 1;
      const tell = (done: boolean): void => {
        const { read: current, picked: total } = source;
        const label = `transferring ${name}:`; // BuildKit's word: it sends them to a daemon
        reporter.emit({ kind: "bytes", vertex, label, atMs: nowMs(), current, total, done });
      };
      return {
        onBytes(picked, read) {
          source.picked += picked;
          source.read += read;
          source.isTold = true;
          tell(false);
        },
        end() {
          source.open -= 1;
          if (source.open > 0) return;
          // A client's files were counted when they came.
          if (source.isTold) tell(true);
          reporter.ended(vertex, "done");
        },
      };
    },
  };
}
