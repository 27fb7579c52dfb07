import assert from "node:assert/strict";
import { Fault } from "../../../cache/registry/exchange.ts";
import { type Kept, openRemembered } from "../../../cache/registry/remembered.ts";

const signal = new AbortController().signal;

describe("remembered answers", () => {
  const counted = (validMs: number | null) => {
    let made = 0;
    const make = async (): Promise<Kept<string>> => ({ value: `answer ${++made}`, validMs });
    return { make, made: () => made };
  };

  it("are made once for many who ask at the same time, and again when forgotten", async () => {
    const answers = openRemembered<string>(10);
    const { make, made } = counted(null);
    const all = await Promise.all(Array.from({ length: 5 }, () => answers.get("a", make, { signal })));
    assert.deepEqual(new Set(all), new Set(["answer 1"]));
    assert.equal(await answers.get("b", make, { signal }), "answer 2");
    answers.forget("a");
    assert.equal(await answers.get("a", make, { signal }), "answer 3");
    assert.equal(made(), 3);
  });

  it("end with their time", async () => {
    const answers = openRemembered<string>(10);
    const short = counted(1);
    assert.equal(await answers.get("a", short.make, { signal }), "answer 1");
    while ((await answers.get("a", short.make, { signal })) === "answer 1") await new Promise(setImmediate);
    const none = counted(0);
    await answers.get("b", none.make, { signal });
    await answers.get("b", none.make, { signal });
    assert.equal(none.made(), 2);
  });

  it("are bounded: the one not used for longest goes", async () => {
    const answers = openRemembered<string>(2);
    const { make } = counted(null);
    const get = (key: string) => answers.get(key, make, { signal });
    await get("a");
    await get("b");
    await get("a");
    await get("c");
    assert.equal(await get("a"), "answer 1");
    assert.equal(await get("b"), "answer 4");
  });

  it("are not kept when they failed", async () => {
    const answers = openRemembered<string>(10);
    const failing = () => Promise.reject(new Fault("ECONNRESET", "broke"));
    await assert.rejects(answers.get("a", failing, { signal }), { code: "ECONNRESET" });
    assert.equal(await answers.get("a", counted(null).make, { signal }), "answer 1");
  });

  it("are still made for others when the first who asked gave up, and for nobody when all did", async () => {
    const answers = openRemembered<string>(10);
    const [first, second] = [new AbortController(), new AbortController()];
    const reasons: unknown[] = [];
    let answer = (_text: string): void => {};
    const make = (asking: AbortSignal) =>
      new Promise<Kept<string>>((resolve, reject) => {
        answer = (value) => resolve({ value, validMs: null });
        asking.addEventListener("abort", () => {
          reasons.push(asking.reason);
          reject(asking.reason);
        });
      });
    const given = answers.get("a", make, { signal: first.signal });
    const next = answers.get("a", () => assert.fail("asked again"), { signal });
    first.abort(new Error("enough"));
    await assert.rejects(given, { message: "enough" });
    answer("the first one's");
    assert.equal(await next, "the first one's");
    assert.deepEqual(reasons, []);
    const alone = answers.get("b", make, { signal: second.signal });
    await Promise.resolve();
    second.abort(new Error("enough"));
    await assert.rejects(alone, { message: "enough" });
    assert.equal(reasons.length, 1);
  });
});
