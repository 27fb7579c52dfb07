// Work that several callers wait for runs once, and continues as long as one of them waits: cancelling one does not affect the others.

/** Those who wait for one outcome. */
export interface Waiters<M> {
  readonly members: Set<M>;
  /** Of the work: aborts when the last member has left. */
  readonly controller: AbortController;
}

/** The outcome for one of the waiting callers. Rejects with `signal.reason` when that aborts: at once if others still wait, otherwise
 *  after the work has stopped. */
export async function awaitAs<T, M>(
  { members, controller }: Waiters<M>,
  member: M,
  outcome: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  let leave = (): void => {};
  const left = new Promise<never>((_resolve, reject) => {
    leave = () => {
      members.delete(member);
      const goodbye = (): void => reject(signal.reason);
      if (members.size > 0) return goodbye();
      controller.abort(signal.reason);
      outcome.then(goodbye, goodbye);
      return undefined;
    };
  });
  left.catch(() => {}); // when the work wins the race
  if (signal.aborted) leave();
  else signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([left, outcome]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

export interface Tasks<T> {
  /** The outcome of `work` for all callers with `key` while it runs; it is not cached. Its signal aborts when nobody waits any more.
   *  Rejects as awaitAs() does. */
  share(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

interface Task<T> extends Waiters<symbol> {
  readonly outcome: Promise<T>;
}

/** No tasks yet. */
export function openTasks<T>(): Tasks<T> {
  const tasks = new Map<string, Task<T>>();

  function launch(key: string, work: (signal: AbortSignal) => Promise<T>): Task<T> {
    const controller = new AbortController();
    const outcome = Promise.resolve()
      .then(() => work(controller.signal))
      .finally(() => tasks.delete(key));
    outcome.catch(() => {}); // callers handle it; when all have left it is ignored
    const task = { members: new Set<symbol>(), controller, outcome };
    tasks.set(key, task);
    return task;
  }

  return {
    async share(key, signal, work) {
      for (;;) {
        signal.throwIfAborted();
        let task = tasks.get(key);
        if (task?.controller.signal.aborted) {
          await task.outcome.catch(() => {}); // cancelled by all callers, still stopping
          continue;
        }
        task ??= launch(key, work);
        const member = Symbol(key);
        task.members.add(member);
        return await awaitAs(task, member, task.outcome, signal);
      }
    },
  };
}

/** Like openTasks(), but a result is cached from then on. A failure is not: the next caller tries again. */
export function openAnswers<T>(): Tasks<T> {
  const tasks = openTasks<T>();
  const known = new Map<string, { readonly answer: T }>();
  return {
    async share(key, signal, work) {
      const found = known.get(key);
      if (found !== undefined) return found.answer;
      return await tasks.share(key, signal, async (shared) => {
        const answer = await work(shared);
        known.set(key, { answer });
        return answer;
      });
    },
  };
}
