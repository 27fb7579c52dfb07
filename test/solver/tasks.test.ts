import assert from "node:assert/strict";
import { openAnswers, openTasks } from "../../solver/graph/tasks.ts";
import { heldByUsers } from "../../solver/graph/scope.ts";

/** Work that ends when it is told to, or when its signal aborts. */
function controlled() {
  let resolve = (_outcome: string): void => {};
  let reject = (_error: Error): void => {};
  const promise = new Promise<string>((...settle) => {
    [resolve, reject] = settle;
  });
  const runs: AbortSignal[] = [];
  const work = (signal: AbortSignal): Promise<string> => {
    runs.push(signal);
    signal.addEventListener("abort", () => reject(signal.reason as Error));
    return promise;
  };
  return { work, runs, resolve: (outcome: string) => resolve(outcome) };
}

describe("work that several wait for", () => {
  it("goes on when the one who began it leaves, and is done once", async () => {
    const tasks = openTasks<string>();
    const { work, runs, resolve } = controlled();
    const [first, second] = [new AbortController(), new AbortController()];
    const one = tasks.share("key", first.signal, work);
    const two = tasks.share("key", second.signal, work);
    first.abort(new Error("left"));
    await assert.rejects(one, /left/);
    resolve("done");
    assert.equal(await two, "done");
    assert.equal(runs.length, 1);
    assert.equal(runs[0]?.aborted, false);
  });

  it("is stopped when the last one leaves, who waits for that; the next who asks begins anew", async () => {
    const tasks = openTasks<string>();
    const abandoned = controlled();
    const leaving = new AbortController();
    const one = tasks.share("key", leaving.signal, abandoned.work);
    await Promise.resolve();
    leaving.abort(new Error("left"));
    const { work, resolve } = controlled();
    const next = tasks.share("key", new AbortController().signal, work);
    await assert.rejects(one, /left/);
    assert.equal(abandoned.runs[0]?.aborted, true);
    resolve("anew");
    assert.equal(await next, "anew");
  });

  it("is remembered by answers, unless it failed", async () => {
    const answers = openAnswers<string>();
    const { signal } = new AbortController();
    await assert.rejects(
      answers.share("key", signal, async () => Promise.reject(new Error("not yet"))),
      /not yet/,
    );
    assert.equal(await answers.share("key", signal, async () => "first"), "first");
    assert.equal(await answers.share("key", signal, async () => "second"), "first");
  });
});

describe("a resource with several users", () => {
  it("is there until the last of them is done", async () => {
    let isThere = true;
    const { hold, gone } = heldByUsers({
      async [Symbol.asyncDispose]() {
        isThere = false;
      },
    });
    const [one, two] = [hold(), hold()];
    await one[Symbol.asyncDispose]();
    await one[Symbol.asyncDispose]();
    assert.ok(isThere);
    await two[Symbol.asyncDispose]();
    assert.ok(!isThere);
    await gone;
    assert.throws(() => hold(), /used after its end/);
  });
});
