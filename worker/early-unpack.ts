// Layers that are unpacked while their blobs arrive. A thread that waits for bytes needs no processor, but memory: few do at a time, the
// first ones of an image, which are also asked for first.

import { availableParallelism } from "node:os";

/** A blob of less is here before a thread has begun. */
const EARLY_MIN_BYTES = 4 << 20;

/** A blob that is on its way. */
export interface Arriving {
  /** Where it is being written to, in order. */
  readonly path: string;
  /** Resolves when all of it is here and verified; rejects when it will not come. */
  readonly whole: Promise<void>;
}

export interface EarlyUnpack {
  /** Fetches a blob of so many bytes, and does `work` meanwhile, if it is fetched by this call and there is room; `work` has a signal that
   *  aborts when the blob does not come. Returns once the blob is here, with what `work` will give; null: it was not begun. Throws what
   *  `fetch` throws, after `work` has ended. */
  during<T>(
    sizeBytes: number,
    fetch: (onFile: (path: string) => void) => Promise<void>,
    work: (arriving: Arriving, signal: AbortSignal) => Promise<T>,
  ): Promise<{ readonly outcome: Promise<T> } | null>;
}

/** At most `max` at a time. */
export function openEarlyUnpack(max: number = Math.max(2, availableParallelism())): EarlyUnpack {
  let running = 0;
  const waiting: (() => void)[] = [];

  return {
    async during(sizeBytes, fetch, work) {
      if (sizeBytes < EARLY_MIN_BYTES) {
        await fetch(() => {});
        return null;
      }
      const stop = new AbortController();
      let begun: ReturnType<typeof work> | null = null;
      let begin: (() => void) | null = null;
      let resolve: () => void = () => {};
      let reject: (error: unknown) => void = () => {};
      const whole = new Promise<void>((...both) => {
        [resolve, reject] = both;
      });
      whole.catch(() => {}); // `work` may not have come so far
      const end = (): void => {
        running--;
        waiting.shift()?.();
      };
      /** From now on it is too late to begin. */
      const leave = (): void => {
        const at = begin === null ? -1 : waiting.indexOf(begin);
        if (at >= 0) waiting.splice(at, 1);
      };
      try {
        await fetch((path) => {
          begin = (): void => {
            running++;
            begun = work({ path, whole }, stop.signal);
            begun.then(end, end); // who called has its outcome
          };
          if (running < max) begin();
          else waiting.push(begin);
        });
        leave();
        resolve();
        return begun === null ? null : { outcome: begun };
      } catch (error) {
        leave();
        reject(error);
        stop.abort(error);
        await (begun as Promise<unknown> | null)?.catch(() => {});
        throw error;
      }
    },
  };
}
