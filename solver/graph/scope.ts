// Scope ties tasks and resources to a block: nothing it started is left running when the block ends.

/** What clean-up may take after a cancel. */
const CLEAN_UP_MS = 800;

/** For clean-up: ignores that `signal` is aborted, but aborts itself CLEAN_UP_MS later. */
export function cleanUpSignal(signal: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const onAbort = (): void => {
    setTimeout(() => controller.abort(signal.reason), CLEAN_UP_MS).unref();
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return controller.signal;
}

/** Waits for a promise that cannot be cancelled, or rejects with the signal's reason if that comes first. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** A resource with several users. */
export interface Held {
  /** Uses it until disposed. Throws if it was disposed. */
  hold(): AsyncDisposable;
  /** Resolves when it is disposed; rejects with the error of its clean-up. */
  readonly gone: Promise<void>;
}

/** Disposes the resource when its last user is done, which waits for that. It is disposed once it has had a user and has none. */
export function heldByUsers(resource: AsyncDisposable): Held {
  let users = 0;
  let isGone = false;
  let over = (_outcome: Promise<void>): void => {};
  const gone = new Promise<void>((resolve) => {
    over = resolve as typeof over;
  });
  gone.catch(() => {}); // reported to the last user
  return {
    gone,
    hold() {
      if (isGone) throw new Error("used after its end");
      users += 1;
      let isDone = false;
      return {
        async [Symbol.asyncDispose]() {
          if (isDone) return;
          isDone = true;
          users -= 1;
          if (users > 0) return;
          isGone = true;
          const ending = Promise.resolve(resource[Symbol.asyncDispose]());
          over(ending);
          await ending;
        },
      };
    },
  };
}

/** Owns tasks and disposables. `signal` aborts with the parent, on the first failed task, and on dispose. */
export class Scope implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #tasks = new Set<Promise<unknown>>();
  readonly #resources: AsyncDisposable[] = [];
  readonly #parent: AbortSignal | null;
  readonly #onAbort: () => void;
  #failure: { readonly error: unknown } | null = null;

  constructor(parent: AbortSignal | null) {
    this.#parent = parent;
    this.#onAbort = () => this.#controller.abort(parent?.reason);
    if (parent?.aborted) this.#onAbort();
    else parent?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Takes a resource; released last-in first-out when the scope ends. Returns it. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.#resources.push(resource);
    return resource;
  }

  /** Starts a task the scope waits for. Its failure aborts the others and is thrown when the scope ends. */
  start<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const running = (async () => {
      try {
        return await task(this.signal);
      } catch (error) {
        if (this.#failure === null && !this.signal.aborted) this.#failure = { error };
        this.#controller.abort(error);
        throw error;
      }
    })();
    this.#tasks.add(running);
    const forget = () => this.#tasks.delete(running);
    running.then(forget, forget);
    return running;
  }

  /** Runs tasks in parallel; the first failure aborts the rest, waits for them, then throws. */
  async all<T extends readonly ((signal: AbortSignal) => Promise<unknown>)[]>(
    tasks: T,
  ): Promise<{ -readonly [K in keyof T]: Awaited<ReturnType<T[K]>> }> {
    const results = await Promise.allSettled(tasks.map((task) => this.start(task)));
    if (this.#failure !== null) throw this.#failure.error;
    for (const result of results) if (result.status === "rejected") throw result.reason;
    return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as never;
  }

  /** Waits for all tasks, then releases resources in reverse order. A failed task not awaited elsewhere throws here. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#parent?.removeEventListener("abort", this.#onAbort);
    if (this.#tasks.size > 0) {
      this.#controller.abort(this.#failure?.error ?? new Error("scope ended"));
      await Promise.allSettled(this.#tasks);
    }
    const failures: unknown[] = [];
    for (let resource = this.#resources.pop(); resource !== undefined; resource = this.#resources.pop()) {
      try {
        await resource[Symbol.asyncDispose]();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, "clean-up failed");
  }
}
