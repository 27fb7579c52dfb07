import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { prune, usage } from "../../cache/collect.ts";
import { openStore, type OpenStore } from "../../cache/store.ts";
import { openStatCache, type StatCache } from "../../cache/stat-cache.ts";
import { syncFiles } from "../../cache/synced-files.ts";
import type { TreeStat } from "../../cache/tree.ts";
import { liveTree } from "../../cache/tree-live.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import type { FileEntry, FilePiece, FileRules, RemoteFiles } from "../../solver/graph/session.ts";
import { type RemoteDirectory, remoteDirectory } from "../support/session.ts";
import { type TemporaryDir, temporaryDir } from "../support/store.ts";

const { signal } = new AbortController();
const ALL: FileRules & { readonly name: string } = {
  name: "context",
  includes: [],
  excludes: [],
  follow: [],
};
const NOTHING = { signal, onBytes: () => {} };

describe("files of a client elsewhere", () => {
  let dir: TemporaryDir;
  let store: OpenStore;
  let root: string;
  let files: RemoteDirectory;
  beforeEach(async () => {
    dir = temporaryDir();
    store = await openStore(dir.at("store"));
    root = dir.at("tree");
    mkdirSync(join(root, "sub/deep"), { recursive: true });
    writeFileSync(join(root, "a"), "a");
    writeFileSync(join(root, "sub/b"), "b".repeat(120_000), { mode: 0o755 });
    writeFileSync(join(root, "sub/deep/ü"), "");
    symlinkSync("../a", join(root, "sub/link"));
    linkSync(join(root, "a"), join(root, "same"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    for (const [path, time] of [
      ["a", 1.5],
      ["sub/b", 1_000_000_000],
      ["sub/deep", 77],
      ["sub", 78],
    ] as const)
      utimesSync(join(root, path), time, time);
    files = remoteDirectory(root);
  });
  afterEach(async () => {
    execFileSync("chmod", ["-R", "u+rwx", root]);
    await store[Symbol.asyncDispose]();
    dir[Symbol.dispose]();
  });

  /** Syncs once, compares with the client's directory, and returns what was sent. */
  async function synced(rules = ALL): Promise<string[]> {
    await using held = await syncFiles(files, rules, store, NOTHING);
    if (rules === ALL) assert.deepEqual(describeTree(held.path), describeTree(root));
    // What it says to have seen is as it is.
    const tree = liveTree(held.path, () => null);
    for (const directory of ["", "sub", "sub/deep", "many/1"]) {
      const seen = held.childrenOf(directory);
      if (seen !== null) assert.deepEqual(seen, tree.children(directory), directory);
    }
    tree.close();
    return files.take();
  }

  it("are copied with their kinds, modes, times and links", async () => {
    assert.deepEqual(await synced(), ["a", "sub/b", "sub/deep/ü"]);
    await using held = await syncFiles(files, ALL, store, NOTHING);
    assert.deepEqual(
      held.childrenOf("sub/deep")?.map(({ name }) => name),
      [Buffer.from("ü").toString("latin1")],
    );
    assert.equal(lstatSync(join(held.path, "a")).ino, lstatSync(join(held.path, "same")).ino);
  });

  it("are sent again only where they differ", async () => {
    await synced();
    assert.deepEqual(await synced(), []);
    appendFileSync(join(root, "sub/b"), "more");
    assert.deepEqual(await synced(), ["sub/b"]);
    utimesSync(join(root, "sub/deep/ü"), 5, 5);
    chmodSync(join(root, "sub/deep"), 0o700);
    assert.deepEqual(await synced(), ["sub/deep/ü"]);
  });

  it("follow the client when names go, come back as something else, or are other links", async () => {
    await synced();
    rmSync(join(root, "sub/deep"), { recursive: true });
    writeFileSync(join(root, "sub/deep"), "a file now");
    rmSync(join(root, "a"));
    mkdirSync(join(root, "a"));
    writeFileSync(join(root, "a/inside"), "x");
    rmSync(join(root, "sub/link"));
    symlinkSync("elsewhere", join(root, "sub/link"));
    rmSync(join(root, "same"));
    linkSync(join(root, "sub/b"), join(root, "same"));
    // "same" is listed before "sub/b", so that is the one that is sent.
    assert.deepEqual(await synced(), ["a/inside", "same", "sub/deep"]);
    assert.deepEqual(await synced(), []);
  });

  it("are files of their own again when hard links have gone apart", async () => {
    await synced();
    execFileSync("sh", ["-c", "cp -p a n && mv n same"], { cwd: root });
    assert.deepEqual(await synced(), ["a", "same"]);
    assert.deepEqual(await synced(), []);
  });

  it("are the client's after any changes", async () => {
    const names = ["a", "ü", "deep", "x.y", "é1"];
    let seed = 7;
    const pick = <T>(list: readonly T[]): T => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return list[Math.floor((seed / 2 ** 31) * list.length)] as T;
    };
    let clock = 1000;
    for (let round = 0; round < 60; round++) {
      for (let change = 0; change < 5; change++) {
        const at = join(root, pick(["", ...names]), pick(["", ...names]), pick(names));
        execFileSync("sh", [
          "-c",
          `rm -rf "$1"; mkdir -p "$(dirname "$1")" 2>/dev/null || exit 0; ${pick(MAKERS)}`,
          "sh",
          at,
          String(clock++),
        ]);
      }
      await synced();
    }
  });

  it("may lie in directories that are closed to their owner", async () => {
    chmodSync(join(root, "sub"), 0o500);
    await synced();
    chmodSync(join(root, "sub"), 0o700);
    writeFileSync(join(root, "sub/new"), "new");
    chmodSync(join(root, "sub"), 0o500);
    assert.deepEqual(await synced(), ["sub/new"]);
  });

  it("have only what the rules leave, each selection with a copy of its own", async () => {
    await synced();
    assert.deepEqual(await synced({ ...ALL, follow: ["a"] }), ["a"]);
    assert.deepEqual(await synced(), []);
    // What is excluded goes from the copy and is sent again when it is wanted again.
    await using held = await syncFiles(files, { ...ALL, excludes: ["sub/deep"] }, store, NOTHING);
    assert.deepEqual(readdirSync(join(held.path, "sub")), ["b", "link"]);
  });

  it("stay as they are for a build that uses them, and another one gets a copy of its own", async () => {
    await using first = await syncFiles(files, ALL, store, NOTHING);
    writeFileSync(join(root, "a"), "changed");
    await using second = await syncFiles(files, ALL, store, NOTHING);
    assert.notEqual(first.path, second.path);
    assert.equal(readFileSync(join(first.path, "a"), "utf8"), "a");
    assert.equal(readFileSync(join(second.path, "a"), "utf8"), "changed");
  });

  it("are sent as a whole after another boot, whose power cut may have torn them", async () => {
    await synced();
    const [copy] = store.syncedFiles.list();
    writeFileSync(join(dirname(copy?.path ?? ""), "boot"), "another");
    assert.deepEqual(await synced(), ["a", "sub/b", "sub/deep/ü"]);
    assert.deepEqual(await synced(), []);
  });

  it("are finished by the next build when one was cancelled in the middle", async () => {
    const controller = new AbortController();
    const onBytes = (count: number): void => {
      if (count > 1) controller.abort();
    };
    await assert.rejects(syncFiles(files, ALL, store, { signal: controller.signal, onBytes }), {
      name: "AbortError",
    });
    assert.deepEqual(files.take(), ["a", "sub/b"]);
    await synced();
  });

  /** More than one thread is worth: small files, empty ones, and a large one in many pieces. */
  function many(): void {
    for (let at = 0; at < 600; at++) {
      const directory = join(root, `many/${at % 7}`);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `f${at}`), at % 5 === 0 ? "" : `content ${at}`, {
        mode: at % 2 ? 0o644 : 0o755,
      });
    }
    writeFileSync(join(root, "many/large"), Buffer.alloc(5_000_001, "large"));
  }

  it("are written by threads when there are many, over what had their names", async () => {
    many();
    await synced();
    for (let at = 0; at < 600; at++) appendFileSync(join(root, `many/${at % 7}/f${at}`), "more");
    rmSync(join(root, "many/large"));
    mkdirSync(join(root, "many/large/inside"), { recursive: true });
    writeFileSync(join(root, "many/large/inside/x"), Buffer.alloc(3_000_000, "x"));
    assert.equal((await synced()).length, 601);
    assert.deepEqual(await synced(), []);
  });

  it("are hashed as they come, and not read again by this build or the next", async () => {
    many();
    const open = (copy: string): StatCache => openStatCache(store.records, copy, { isOurs: true });
    const caches: StatCache[] = [];
    const statCache = (copy: string): StatCache => {
      const cache = open(copy);
      caches.push(cache);
      return cache;
    };
    await using held = await syncFiles(files, ALL, store, { ...NOTHING, statCache });
    const [first] = caches;
    first?.flush();
    const tree = liveTree(held.path, () => null);
    const paths = files.take().map((path) => Buffer.from(path).toString("latin1"));
    assert.equal(paths.length, 604);
    for (const cache of [first, open(held.path)]) {
      for (const path of paths) {
        // A name more, made after the content, has changed the file's stat.
        if (path === "a") continue;
        const expected = digestOf(readFileSync(join(held.path, Buffer.from(path, "latin1").toString())));
        assert.equal(cache?.get(path, tree.lstat(path) as TreeStat), expected, path);
      }
    }
    tree.close();
  });

  it("are an entry of du, and prune takes those nobody uses", async () => {
    await synced();
    const options = {
      all: false,
      keepBytes: null,
      olderThanMs: null,
      filters: ["type=source.local"],
      signal,
    };
    {
      await using held = await syncFiles(files, ALL, store, NOTHING);
      assert.ok(held.path);
      assert.deepEqual((await prune(store, options)).removed, []);
    }
    const entries = await usage(store);
    const [entry] = entries.filter(({ kind }) => kind === "source");
    assert.equal(entry?.description, `synced build context: context of ${root}`);
    assert.ok((entry?.sizeBytes ?? 0) >= 120_000, String(entry?.sizeBytes));
    assert.deepEqual(
      (await prune(store, options)).removed.map(({ kind }) => kind),
      ["source"],
    );
    assert.deepEqual(store.syncedFiles.list(), []);
  });

  describe("of a client that is hostile", () => {
    const entry = (path: string, more: Partial<FileEntry> = {}): FileEntry => ({
      ...{ path, type: "file", mode: 0o644, size: 1, mtimeNs: 0n, linkName: "" },
      ...more,
    });
    const directory = (path: string): FileEntry => entry(path, { type: "directory", mode: 0o755 });
    const sending = (listing: readonly FileEntry[], pieces: readonly FilePiece[] = []): RemoteFiles => ({
      kind: "elsewhere",
      key: "hostile",
      async open() {
        return {
          async *listing() {
            yield listing;
          },
          async *contents() {
            yield pieces;
          },
          async [Symbol.asyncDispose]() {},
        };
      },
    });
    const one = (index: number): FilePiece[] => [
      { index, data: Buffer.from("x") },
      { index, data: null },
    ];

    const listings: Readonly<Record<string, readonly FileEntry[]>> = {
      "a path that leaves": [directory(".."), entry("../x")],
      "a path with .. inside": [directory("a"), directory("a/.."), entry("a/../x")],
      "an absolute path": [entry("/etc/passwd")],
      "an empty name": [entry("")],
      "a double slash": [directory("a"), entry("a//x")],
      "a NUL": [entry("a\0b")],
      "a name that is too long": [entry("n".repeat(256))],
      "a path that is too long": Array.from({ length: 21 }, (_, depth) =>
        directory(Array.from({ length: depth + 1 }, () => "d".repeat(200)).join("/")),
      ),
      "a file without its directory": [entry("a/x")],
      "a file below a file": [entry("a"), entry("a/x")],
      "a file below a link": [entry("a", { type: "symlink", linkName: "/etc" }), entry("a/x")],
      "names out of order": [entry("b"), entry("a")],
      "a name twice": [entry("a"), entry("a")],
      "an entry of a directory that was left": [directory("a"), entry("b"), entry("a/x")],
      "a link without text": [entry("a", { type: "symlink" })],
      "a hard link to a later file": [entry("a", { type: "hardlink", linkName: "b" }), entry("b")],
      "a hard link out of it": [entry("a", { type: "hardlink", linkName: "../../version" })],
      "a link with an endless text": [entry("a", { type: "symlink", linkName: "x/".repeat(5000) })],
      "an entry of no known type": [entry("a", { type: "constructor" as never })],
      "an entry without a time": [entry("a", { mtimeNs: undefined as never })],
      "a hard link to a link": [
        entry("a", { type: "symlink", linkName: "/etc/passwd" }),
        entry("b", { type: "hardlink", linkName: "a" }),
      ],
    };
    for (const [what, listing] of Object.entries(listings)) {
      it(`are refused with ${what}`, async () => {
        await assert.rejects(syncFiles(sending(listing, one(0)), ALL, store, NOTHING), {
          code: "SOURCE_FAILED",
          message: /^the client sent an invalid directory: /,
        });
        const [copy] = store.syncedFiles.list();
        assert.deepEqual(readdirSync(copy?.path ?? ""), []);
        assert.equal(copy?.inUse, false);
      });
    }

    const contents: Readonly<Record<string, readonly FilePiece[]>> = {
      "another file": one(1),
      nothing: [],
      "half a file": [{ index: 0, data: Buffer.from("x") }],
      "a file more than was asked for": [...one(0), ...one(0)],
    };
    for (const [what, pieces] of Object.entries(contents)) {
      it(`are refused when ${what} comes`, async () => {
        await assert.rejects(syncFiles(sending([entry("a")], pieces), ALL, store, NOTHING), {
          code: "SOURCE_FAILED",
        });
      });
    }

    it("never write through a link of an earlier listing", async () => {
      const outside = dir.at("outside");
      mkdirSync(outside);
      const link = entry("a", { type: "symlink", linkName: outside });
      await (await syncFiles(sending([link]), ALL, store, NOTHING))[Symbol.asyncDispose]();
      const listing = [directory("a"), entry("a/x")];
      await using held = await syncFiles(sending(listing, one(1)), ALL, store, NOTHING);
      assert.equal(readFileSync(join(held.path, "a/x"), "utf8"), "x");
      assert.deepEqual(readdirSync(outside), []);
    });

    it("do not keep a cancelled build waiting when the client says nothing", async () => {
      const never = new Promise<never>(() => {});
      const silent = (where: "open" | "listing" | "contents" | "end"): RemoteFiles => ({
        kind: "elsewhere",
        key: `silent ${where}`,
        async open() {
          if (where === "open") await never;
          return {
            async *listing() {
              if (where === "listing") await never;
              yield [entry("a")];
            },
            async *contents() {
              if (where === "contents") await never;
              yield one(0);
            },
            async [Symbol.asyncDispose]() {
              await never;
            },
          };
        },
      });
      const before = readdirSync("/proc/self/fd").length;
      for (const where of ["open", "listing", "contents", "end"] as const) {
        const controller = new AbortController();
        const syncing = syncFiles(silent(where), ALL, store, { ...NOTHING, signal: controller.signal });
        setTimeout(() => controller.abort(), 50);
        await assert.rejects(syncing, { name: "AbortError" }, where);
      }
      assert.ok(store.syncedFiles.list().every(({ inUse }) => !inUse));
      assert.equal(readdirSync("/proc/self/fd").length, before);
    });

    it("may say sizes and times that are not so", async () => {
      const odd = entry("a", { size: -5, mtimeNs: -(2n ** 80n), mode: 0xffff_ffff });
      await using held = await syncFiles(sending([odd], one(0)), ALL, store, NOTHING);
      const stat = lstatSync(join(held.path, "a"));
      assert.deepEqual([stat.size, stat.mtimeMs, stat.mode & 0o7777], [1, 0, 0o7777]);
    });
  });
});

/** Each makes something at $1, with the time $2. */
const MAKERS = [
  'echo "$2" > "$1"; touch -d "@$2" "$1"',
  'mkdir "$1"; echo > "$1/ascii"; chmod 555 "$1"; chmod 755 "$1"',
  'ln -s "$2" "$1"',
  'mkfifo "$1"',
  'ln a "$1" 2>/dev/null || echo one > "$1"',
  'mv "$(dirname "$1")" "$1.moved" 2>/dev/null || true',
  "true",
];

/** All that is copied of a tree. */
function describeTree(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
  return names.map((name) => {
    const stat = lstatSync(join(root, name), { bigint: true });
    const content = stat.isFile() ? readFileSync(join(root, name), "latin1") : "";
    const link = stat.isSymbolicLink()
      ? execFileSync("readlink", [join(root, name)], { encoding: "utf8" })
      : "";
    const mode = stat.isSymbolicLink() ? 0n : stat.mode;
    return [name, mode, stat.mtimeNs, stat.nlink > 1n && stat.isFile(), link, content].join(" ");
  });
}
