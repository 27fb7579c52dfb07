// What a Store keeps, whatever it is made of: cache/store.ts has the contracts. Run with the store on disk and with the one in
// memory that the tests of the solver use, so that what they show of the one holds for the other. What needs files is not here.

import assert from "node:assert/strict";
import { digestOf } from "../../solver/graph/digest.ts";
import type { LayerId } from "../../solver/graph/request.ts";
import { never } from "../cache/store-support.ts";
import type { Store } from "../../cache/contract.ts";

/** Registers the suite. `open` makes an empty store. */
export function storeSuite(title: string, open: () => Promise<Store>): void {
  describe(title, () => {
    let store: Store;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(async () => {
      await store[Symbol.asyncDispose]();
    });

    describe("keeps blobs", () => {
      const data = Buffer.from("bytes of a blob");
      const digest = digestOf(data);
      const streamed = async (): Promise<Buffer> => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of store.content.stream(digest, { signal: never() })) chunks.push(chunk);
        return Buffer.concat(chunks);
      };

      it("by their digests, once", async () => {
        const { content } = store;
        assert.deepEqual([content.has(digest), content.size(digest)], [false, null]);
        assert.equal(await content.isWhole(digest, { signal: never() }), false);
        assert.equal(content.put(data), digest);
        assert.equal(content.put(data), digest);
        assert.deepEqual([content.has(digest), content.size(digest)], [true, data.length]);
        assert.equal(await content.isWhole(digest, { signal: never() }), true);
        assert.ok(Buffer.from(content.read(digest, data.length)).equals(data));
        assert.ok((await streamed()).equals(data));
      });

      it("that nobody changes afterwards", () => {
        const mine = Buffer.from(data);
        store.content.put(mine);
        mine.fill(0);
        assert.ok(Buffer.from(store.content.read(digest, 100)).equals(data));
      });

      it("and refuses to read more than allowed, and what is not there", async () => {
        assert.throws(() => store.content.read(digest, 100), { code: "STORE_CORRUPT" });
        await assert.rejects(streamed, { code: "STORE_CORRUPT" });
        store.content.put(data);
        assert.throws(() => store.content.read(digest, data.length - 1), { code: "LIMIT_EXCEEDED" });
      });
    });

    describe("keeps records", () => {
      const all = (space: string): Record<string, unknown> =>
        Object.fromEntries([...store.records.entries(space)].map(({ key, value }) => [key, value]));

      it("by space and key, and shows its own writes at once", async () => {
        const { records } = store;
        assert.equal(records.get("a", "k"), null);
        records.put("a", "k", { n: [1, "x", null] });
        records.put("ab", "k", 2);
        records.put("a", "", "no key");
        assert.deepEqual(records.get("a", "k"), { n: [1, "x", null] });
        assert.deepEqual(all("a"), { "": "no key", k: { n: [1, "x", null] } });
        await records.commit();
        assert.deepEqual(all("a"), { "": "no key", k: { n: [1, "x", null] } });
        assert.deepEqual(all("ab"), { k: 2 });
        records.remove("a", "k");
        records.remove("a", "never there");
        assert.equal(records.get("a", "k"), null);
        assert.deepEqual(all("a"), { "": "no key" });
        await records.flush();
        assert.deepEqual([all("a"), all("ab"), all("b")], [{ "": "no key" }, { k: 2 }, {}]);
      });

      it("several at once, with removals among them", async () => {
        const { records } = store;
        records.put("a", "old", 1);
        records.batch([
          { space: "a", key: "old", value: null },
          { space: "a", key: "new", value: 2 },
          { space: "b", key: "new", value: 3 },
        ]);
        assert.deepEqual([all("a"), all("b")], [{ new: 2 }, { new: 3 }]);
        await records.commit();
        assert.deepEqual([all("a"), all("b")], [{ new: 2 }, { new: 3 }]);
      });

      it("as functions of what was there, which may take them away", async () => {
        const { records } = store;
        const add = (old: number | null): number => (old ?? 0) + 1;
        assert.equal(records.merge<number>("a", "k", add), 1);
        assert.equal(records.merge<number>("a", "k", add), 2);
        await records.commit();
        assert.equal(records.get("a", "k"), 2);
        assert.equal(
          records.merge<number>("a", "k", () => null),
          null,
        );
        assert.equal(records.get("a", "k"), null);
        await records.commit();
        assert.deepEqual(all("a"), {});
      });

      it("of bytes as bytes", async () => {
        const bytes = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
        store.records.put("a", "k", bytes);
        assert.deepEqual(new Uint8Array(store.records.get<Uint8Array>("a", "k") ?? []), bytes);
        await store.records.commit();
        assert.deepEqual(new Uint8Array(store.records.get<Uint8Array>("a", "k") ?? []), bytes);
      });

      it("that do not change with the objects they were made of", () => {
        const value = { list: [1] };
        store.records.put("a", "k", value);
        value.list.push(2);
        assert.deepEqual(store.records.get("a", "k"), { list: [1] });
      });
    });

    describe("keeps what is known of layers", () => {
      const diffId = digestOf("diff");

      it("field by field", () => {
        const { layers } = store;
        const id = layers.idOf(diffId);
        assert.match(id, /^d-[0-9a-f]{64}$/);
        assert.equal(layers.get(id), null);
        assert.deepEqual(layers.list(), []);
        const first = layers.update(id, { diffId, description: "FROM x" });
        assert.deepEqual(first, layers.get(id));
        assert.deepEqual(
          [first.id, first.diffId, first.unpacked, first.sizeBytes, first.description],
          [id, diffId, false, 0, "FROM x"],
        );
        assert.deepEqual([first.blobs, first.diffIds, first.remotes], [{}, {}, []]);
        layers.update(id, { tarBytes: { "": 10 } });
        assert.deepEqual(layers.get(id), { ...first, tarBytes: { "": 10 } });
        assert.deepEqual(
          layers.list().map((record) => record.id),
          [id],
        );
      });

      it("and of no others", () => {
        store.layers.update(store.layers.idOf(diffId), { description: "one" });
        assert.equal(store.layers.get(store.layers.idOf(digestOf("other"))), null);
        assert.equal(store.layers.made(store.layers.idOf(diffId)), null);
        assert.equal(store.layers.isOfOtherIds(store.layers.idOf(diffId)), false);
        assert.deepEqual(store.layers.discarded(), []);
      });
    });

    describe("runs work of one key", () => {
      /** Work that stays until it is let go. */
      function held(): { readonly work: () => Promise<void>; readonly end: () => void; begun: boolean } {
        let end = (): void => {};
        const over = new Promise<void>((resolve) => {
          end = resolve;
        });
        const one = {
          begun: false,
          end,
          work: () => {
            one.begun = true;
            return over;
          },
        };
        return one;
      }

      it("one after the other in the order asked, and other keys beside it", async () => {
        const signal = never();
        const [one, two, three, other] = [held(), held(), held(), held()];
        const running = [one, two, three].map(({ work }) => store.exclusively("key", work, { signal }));
        const beside = store.exclusively("other", other.work, { signal });
        other.end();
        await beside;
        const begun = (): boolean[] => [one, two, three].map((work) => work.begun);
        assert.deepEqual(begun(), [true, false, false]);
        one.end();
        await running[0];
        two.end();
        await running[1];
        assert.equal(two.begun, true);
        three.end();
        await Promise.all(running);
        assert.deepEqual(begun(), [true, true, true]);
      });

      it("gives its result or its failure to its caller, and then goes on", async () => {
        const signal = never();
        const failing = store.exclusively("key", () => Promise.reject(new RangeError("mine")), { signal });
        const next = store.exclusively("key", async () => 2, { signal });
        await assert.rejects(failing, { message: "mine" });
        assert.equal(await next, 2);
      });

      it("never when aborted in line, which rejects at once and leaves the others their turns", async () => {
        const first = held();
        const running = store.exclusively("key", first.work, { signal: never() });
        const abort = new AbortController();
        const second = held();
        const waiting = store.exclusively("key", second.work, { signal: abort.signal });
        const third = store.exclusively("key", async () => 3, { signal: never() });
        abort.abort(new RangeError("no longer"));
        await assert.rejects(waiting, { message: "no longer" });
        first.end();
        await running;
        assert.equal(await third, 3);
        assert.equal(second.begun, false);
      });
    });

    it("lets leases be taken and given back, of what is there and of what is not", async () => {
      const lease = store.lease();
      lease.addLayers([store.layers.idOf(digestOf("x")), `r-${"0".repeat(32)}` as LayerId]);
      lease.addBlobs([digestOf("y")]);
      await lease[Symbol.asyncDispose]();
      await lease[Symbol.asyncDispose]();
      assert.throws(() => lease.addLayers([store.layers.idOf(digestOf("x"))]));
    });
  });
}
