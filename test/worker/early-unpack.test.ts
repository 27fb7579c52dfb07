import assert from "node:assert/strict";
import { type Arriving, openEarlyUnpack } from "../../worker/early-unpack.ts";

const LARGE = 8 << 20;

/** Something that a test ends. */
function open<T>(): { readonly promise: Promise<T>; resolve(value: T): void; reject(error: Error): void } {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((...both) => {
    [resolve, reject] = both;
  });
  return { promise, resolve, reject };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("layers that are unpacked while they arrive", () => {
  it("are few at a time, and the next begins in the middle of its download when one is done", async () => {
    const early = openEarlyUnpack(1);
    const begun: string[] = [];
    const works = [open<string>(), open<string>()] as const;
    const fetches = [open<void>(), open<void>()] as const;
    const run = (at: 0 | 1) =>
      early.during(
        LARGE,
        (onFile) => {
          onFile(`/ingest/${at}`);
          return fetches[at].promise;
        },
        ({ path }) => {
          begun.push(path);
          return works[at].promise;
        },
      );
    const both = [run(0), run(1)] as const;
    assert.deepEqual(begun, ["/ingest/0"]);
    works[0].resolve("first");
    await turn();
    assert.deepEqual(begun, ["/ingest/0", "/ingest/1"]);
    for (const fetch of fetches) fetch.resolve();
    works[1].resolve("second");
    assert.equal(await (await both[0])?.outcome, "first");
    assert.equal(await (await both[1])?.outcome, "second");
  });

  it("are not begun once all of the blob is here, nor for a small blob", async () => {
    const early = openEarlyUnpack(1);
    const first = open<string>();
    const fetched = await early.during(
      LARGE,
      async (onFile) => onFile("/one"),
      () => first.promise,
    );
    const never = (): Promise<string> => Promise.reject(new Error("was begun"));
    assert.equal(await early.during(LARGE, async (onFile) => onFile("/two"), never), null);
    assert.equal(await early.during(1000, async (onFile) => onFile("/three"), never), null);
    first.resolve("done");
    assert.equal(await fetched?.outcome, "done");
  });

  it("end before the failure of their download is told", async () => {
    const early = openEarlyUnpack(1);
    const told: string[] = [];
    const work = async ({ whole }: Arriving, signal: AbortSignal): Promise<void> => {
      await whole.catch((error: Error) => told.push(`work: ${error.message}`));
      assert.equal(signal.aborted, true);
      await turn();
      told.push("work ended");
    };
    const failing = early.during(
      LARGE,
      async (onFile) => {
        onFile("/one");
        await turn();
        throw new Error("cut");
      },
      work,
    );
    await failing.catch((error: Error) => told.push(`fetch: ${error.message}`));
    assert.deepEqual(told, ["work: cut", "work ended", "fetch: cut"]);
  });
});
