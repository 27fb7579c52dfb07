// A bounded cache of responses with expiry, in which concurrent requests for the same key wait for one.

import { LRUCache } from "lru-cache";
import { BuildError } from "../../solver/graph/error.ts";
import { Fault } from "./exchange.ts";

export interface Kept<V> {
  readonly value: V;
  /** How long it may be given out, in milliseconds; null: as long as there is room. */
  readonly validMs: number | null;
}

export interface Remembered<V extends {}> {
  /** What is known for a key, else what `make` gives, which is kept. What `make` throws is not. */
  get(key: string, make: () => Promise<Kept<V>>, options: { readonly signal: AbortSignal }): Promise<V>;
  forget(key: string): void;
}

/** Keeps at most `max` answers, the last used ones. */
export function openRemembered<V extends {}>(max: number): Remembered<V> {
  // Its clock is performance.now(), which does not jump.
  const cache = new LRUCache<string, V>({ max });
  const making = new Map<string, Promise<V>>();

  async function makeAndKeep(key: string, make: () => Promise<Kept<V>>): Promise<V> {
    const { value, validMs } = await make();
    if (validMs === null || validMs >= 1)
      cache.set(key, value, { ttl: validMs === null ? 0 : Math.floor(validMs) });
    return value;
  }

  return {
    async get(key, make, { signal }) {
      for (;;) {
        const known = cache.get(key);
        if (known !== undefined) return known;
        let running = making.get(key);
        const isMine = running === undefined;
        if (running === undefined) {
          running = makeAndKeep(key, make);
          const over = () => making.delete(key);
          making.set(key, running);
          running.then(over, over);
        }
        try {
          return await running;
        } catch (error) {
          // One that ended because its own caller gave up is begun again by the next.
          if (isMine || signal.aborted || error instanceof BuildError || error instanceof Fault) throw error;
        }
      }
    },
    forget(key) {
      cache.delete(key);
    },
  };
}
