// Waiting for what a client has named and may bring a moment later: its session, its build.

/** Those who wait for values by name. */
export interface Waiting<T> {
  /** Gives the value to all who wait for the name. */
  arrived(name: string, value: T): void;
  /** Rejects with `late()` after `withinMs`, with the signal's reason when it aborts. */
  wait(name: string, limits: { withinMs: number; signal: AbortSignal; late: () => Error }): Promise<T>;
}

export function openWaiting<T>(): Waiting<T> {
  const waiting = new Map<string, Set<(value: T) => void>>();
  return {
    arrived(name, value) {
      for (const found of waiting.get(name) ?? []) found(value);
    },
    wait(name, { withinMs, signal, late }) {
      return new Promise((resolve, reject) => {
        const all = waiting.get(name) ?? new Set();
        waiting.set(name, all);
        const end = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", onAbort);
          all.delete(found);
          if (all.size === 0 && waiting.get(name) === all) waiting.delete(name);
        };
        const found = (value: T): void => {
          end();
          resolve(value);
        };
        const onAbort = (): void => {
          end();
          reject(signal.reason as Error);
        };
        const timer = setTimeout(() => {
          end();
          reject(late());
        }, withinMs);
        all.add(found);
        if (signal.aborted) onAbort();
        else signal.addEventListener("abort", onAbort, { once: true });
      });
    },
  };
}
