// A bounded cache of responses with expiry, in which concurrent requests for the same key are one.

import { LRUCache } from "lru-cache";
import { openTasks } from "../../solver/graph/tasks.ts";

export interface Kept<V> {
  readonly value: V;
  /** How long it may be given out, in milliseconds; null: as long as there is room. */
  readonly validMs: number | null;
}

export interface Remembered<V extends {}> {
  /** What is known for a key, else the outcome of `make`, which is kept. Its signal aborts when nobody waits for it any more. Failures are
   *  not kept. */
  get(
    key: string,
    make: (signal: AbortSignal) => Promise<Kept<V>>,
    options: { readonly signal: AbortSignal },
  ): Promise<V>;
  forget(key: string): void;
}

/** Keeps at most `max` answers, the last used ones. */
export function openRemembered<V extends {}>(max: number): Remembered<V> {
  // Its clock is performance.now(), which does not jump.
  const cache = new LRUCache<string, V>({ max });
  const tasks = openTasks<V>();
  return {
    async get(key, make, { signal }) {
      const known = cache.get(key);
      if (known !== undefined) return known;
      return await tasks.share(key, signal, async (shared) => {
        const { value, validMs } = await make(shared);
        if (validMs === null || validMs >= 1)
          cache.set(key, value, { ttl: validMs === null ? 0 : Math.floor(validMs) });
        return value;
      });
    },
    forget(key) {
      cache.delete(key);
    },
  };
}
