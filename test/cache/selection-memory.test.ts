// What is remembered of whole selections: only what cannot have changed is believed.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { selectDigestLive } from "../../cache/path-hash.ts";
import { openSelectionMemory, SEEN_SPACE } from "../../cache/selection-memory.ts";
import { liveTree } from "../../cache/tree-live.ts";
import type { Selector } from "../../cache/tree-select.ts";
import { openMemoryStore } from "../support/memory-store.ts";
import { freshDirectory, never } from "./store-support.ts";

describe("the memory of selections", () => {
  const dir = freshDirectory();
  const at = (...names: string[]): string => join(dir(), "context", ...names);
  /** The digest, whether it was computed, and whether it was told before that steps are likely. `isOurs` makes young files good enough: there is no waiting for them. */
  const ask = async (
    { records }: ReturnType<typeof openMemoryStore>,
    {
      question = "",
      isOurs = true,
      selectors = [{ kind: "subtree", path: "/" }],
    }: {
      readonly question?: string;
      readonly isOurs?: boolean;
      readonly selectors?: readonly Selector[];
    } = {},
  ) => {
    const memory = openSelectionMemory(records, at(), question, { isOurs });
    const tree = liveTree(at(), () => null, { keepsLists: memory.hasOne });
    const picked: number[] = [];
    let isComputed = false;
    let isNew = false;
    try {
      const digest = await selectDigestLive(tree, at(), selectors, {
        ...{ signal: never(), memory },
        onBytes: (bytes) => picked.push(bytes),
        onNew: () => {
          isNew = true;
        },
        onSelected: () => {
          isComputed = true;
        },
      });
      return { digest, isComputed, isNew, bytes: picked[0] };
    } finally {
      tree.close();
    }
  };
  beforeEach(() => {
    for (let directory = 0; directory < 11; directory++) {
      mkdirSync(at(`${directory}`), { recursive: true });
      for (let file = 0; file < 100; file++) writeFileSync(at(`${directory}`, `${file}`), `${file}`);
    }
    symlinkSync("1/1", at("link"));
    chmodSync(at("0"), 0o755);
  });

  it("has the digest and the size of what has not changed", async () => {
    const store = openMemoryStore();
    const first = await ask(store);
    assert.equal(first.isComputed, true);
    assert.deepEqual(await ask(store), { ...first, isComputed: false, isNew: false });
    assert.equal((await ask(store, { question: "other rules" })).isComputed, true);
  });

  const changes: Readonly<Record<string, () => void>> = {
    "a file of the same size and time": () => {
      const { atime, mtime } = lstatSync(at("5", "55"));
      writeFileSync(at("5", "55"), "xx");
      utimesSync(at("5", "55"), atime, mtime);
    },
    "a mode": () => chmodSync(at("5", "55"), 0o600),
    "a mode of a directory": () => chmodSync(at("0"), 0o700),
    "a name": () => renameSync(at("5", "55"), at("5", "5x")),
    "one more file": () => writeFileSync(at("5", "more"), ""),
    "one file less": () => rmSync(at("10", "99")),
    "a link": () => {
      rmSync(at("link"));
      symlinkSync("1/2", at("link"));
    },
    "a second name of a file": () => linkSync(at("1", "1"), at("1", "one")),
    "two files for each other": () => {
      renameSync(at("1", "11"), at("x"));
      renameSync(at("1", "12"), at("1", "11"));
      renameSync(at("x"), at("1", "12"));
    },
    "a fifo": () => void execFileSync("mkfifo", [at("pipe")]),
  };
  for (const [name, change] of Object.entries(changes)) {
    it(`notices ${name}`, async () => {
      const store = openMemoryStore();
      const before = await ask(store);
      change();
      const after = await ask(store);
      assert.deepEqual([after.isComputed, after.isNew], [true, true]);
      assert.notEqual(after.digest, before.digest);
      assert.equal(after.digest, (await ask(openMemoryStore())).digest);
      assert.deepEqual(await ask(store), { ...after, isComputed: false, isNew: false });
    });
  }

  it("notices that files which stay as they are went from one selector to the next", async () => {
    const copied = (src: string): Selector => ({
      ...{ kind: "copy", src, followSymlink: true, allowWildcard: true, includePatterns: [] },
      ...{ excludePatterns: [], ignoreOwner: false, ignoreMode: false },
    });
    const selectors = [copied("/one/*/*"), copied("/two/*/*")];
    mkdirSync(at("one"));
    mkdirSync(at("two"));
    for (let directory = 1; directory < 11; directory++)
      renameSync(at(`${directory}`), at(directory < 9 ? "one" : "two", String(directory).padStart(2, "0")));
    const store = openMemoryStore();
    // Three hundred more, so that there are enough.
    for (let file = 0; file < 300; file++) writeFileSync(at("two", "10", `more${file}`), "");
    const before = await ask(store, { selectors });
    assert.equal((await ask(store, { selectors })).isComputed, false);
    renameSync(at("one", "08"), at("two", "08"));
    const after = await ask(store, { selectors });
    assert.equal(after.isComputed, true);
    assert.notEqual(after.digest, before.digest);
  });

  it("does not begin with files that may change within a tick of the clock", async () => {
    const store = openMemoryStore();
    await ask(store, { isOurs: false });
    assert.equal((await ask(store, { isOurs: false })).isComputed, true);
    assert.deepEqual([...store.records.entries(SEEN_SPACE)], []);
  });

  it("is not asked about few files, nor believed when it is damaged", async () => {
    const store = openMemoryStore();
    const { digest } = await ask(store);
    const [{ key, value } = assert.fail()] = [...store.records.entries<Uint8Array>(SEEN_SPACE)];
    for (const damaged of [
      value.slice(1),
      new Uint8Array(72),
      Uint8Array.from(value, (byte, i) => (i === 20 ? byte ^ 1 : byte)),
    ]) {
      store.records.put(SEEN_SPACE, key, damaged);
      assert.deepEqual(await ask(store), { digest, isComputed: true, isNew: true, bytes: 2090 });
    }
    rmSync(at("1"), { recursive: true });
    rmSync(at("2"), { recursive: true });
    const few = openMemoryStore();
    await ask(few);
    assert.equal((await ask(few)).isComputed, true);
  });
});
