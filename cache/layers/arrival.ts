// A file that is still being written, in order, by another process: a blob that is unpacked while it is downloaded.

import { fstatSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/** What will be there, and what is. */
export interface Arrival {
  /** Of the whole file. */
  readonly sizeBytes: number;
  /** Resolves when the file has so many bytes, or all. Never, if its writer gives up: who started this ends it then. */
  until(bytes: number): Promise<void>;
}

/** 256 KiB take 6 ms at 40 MB/s. A look takes 1 µs. */
const LOOK_AFTER_MS = 4;

/** The arrival of a file that will have `sizeBytes`. Its size is all that is asked for: there is no other word from its writer. */
export function arrivalOf(fd: number, sizeBytes: number): Arrival {
  let seen = 0;
  return {
    sizeBytes,
    async until(bytes) {
      const wanted = Math.min(bytes, sizeBytes);
      while (seen < wanted) {
        seen = fstatSync(fd).size;
        if (seen < wanted) await delay(LOOK_AFTER_MS);
      }
    },
  };
}
