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

  it("are made by the next who asks when the first gave up", async () => {
    const answers = openRemembered<string>(10);
    const first = new AbortController();
    const given = answers.get(
      "a",
      () =>
        new Promise((_resolve, reject) =>
          first.signal.addEventListener("abort", () => reject(first.signal.reason)),
        ),
      { signal: first.signal },
    );
    const next = answers.get("a", counted(null).make, { signal });
    first.abort(new Error("enough"));
    await assert.rejects(given, { message: "enough" });
    assert.equal(await next, "answer 1");
  });
});
