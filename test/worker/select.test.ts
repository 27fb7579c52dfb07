import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { selectDigest, selectDigestLive } from "../../cache/path-hash.ts";
import { filterTree } from "../../cache/tree-filter.ts";
import { liveTree } from "../../cache/tree-live.ts";
import { copySelector, findMatches, walkMatch } from "../../cache/tree-select.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { CopyAction } from "../../solver/graph/op.ts";
import { fdTree } from "../../worker/ops/fd-tree.ts";
import { openat } from "../../worker/sys/file.ts";
import { copy, type Files, writeTree } from "./file-op-fixture.ts";
import { AT, O } from "../../worker/sys/constants.ts";

describe("selecting paths of a tree", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-select-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const tree = (excludes: readonly string[] = [], includes: readonly string[] = []) =>
    filterTree(
      liveTree(dir, () => null),
      { includes, excludes },
    );
  const selector = (src: string, change: Partial<CopyAction> = {}) => copySelector(copy(src, "/", change));
  /** What is picked, with the names below each source. */
  const picked = (
    src: string,
    excludes: readonly string[] = [],
    change: Partial<CopyAction> = {},
  ): string[] => {
    const reader = tree(excludes);
    const chosen = selector(src, change);
    return findMatches(reader, chosen).flatMap((match) => {
      const paths: string[] = [];
      walkMatch(reader, match, chosen, {
        enter: (entry) => paths.push(`${entry.path}${entry.isWay ? " (way)" : ""}`),
      });
      return paths;
    });
  };

  it("takes a directory with all that is in it, sorted by bytes", () => {
    writeTree(dir, { "b/x": "", "a.txt": "", "a/y": "", é: "", z: null });
    assert.deepEqual(picked("/"), [
      "",
      "a",
      "a/y",
      "a.txt",
      "b",
      "b/x",
      "z",
      Buffer.from("é").toString("latin1"),
    ]);
  });

  it("matches wildcards part by part, and nothing below a match again", () => {
    writeTree(dir, { "a/1.txt": "", "a/b/2.txt": "", "c/3.txt": "", "c/n.md": "" });
    assert.deepEqual(picked("/*/*.txt"), ["a/1.txt", "c/3.txt"]);
    assert.deepEqual(picked("/a*"), ["a", "a/1.txt", "a/b", "a/b/2.txt"]);
    assert.deepEqual(picked("/**/*.txt"), ["a/1.txt", "c/3.txt"]);
    assert.deepEqual(picked("/*.none"), []);
    assert.deepEqual(picked("/[[]x"), []);
  });

  // Go's filepath.Match checks the rest of a pattern also where a name does not match.
  it("refuses a malformed wildcard, whatever names there are", () => {
    writeTree(dir, { "a[": "", d: null });
    for (const src of ["/a[", "/d/[", "/z[a-", "/*[", "/[]a]", "/d*/["]) {
      assert.throws(() => picked(src), { code: "DOCKERFILE_SYNTAX", message: /^syntax error in pattern/ });
    }
  });

  it("does not look for wildcards behind links, but before them", () => {
    writeTree(dir, { "real/a.txt": "", link: ["link", "real"] });
    assert.deepEqual(picked("/l*/a.txt"), []);
    assert.deepEqual(picked("/link/*.txt"), ["real/a.txt"]);
  });

  it("resolves links of the source inside the tree", () => {
    writeTree(dir, {
      "real/f": "",
      abs: ["link", "/real"],
      up: ["link", "../../../../real/f"],
      "d/rel": ["link", "../real"],
    });
    assert.deepEqual(picked("/abs/f"), ["real/f"]);
    assert.deepEqual(picked("/up"), ["real/f"]);
    assert.deepEqual(picked("/d/rel"), ["real", "real/f"]);
    assert.deepEqual(picked("/up", [], { followSymlink: false }), ["up"]);
  });

  it("refuses a loop of links and a link to nowhere", () => {
    writeTree(dir, { a: ["link", "b"], b: ["link", "a"], gone: ["link", "nothing"] });
    assert.throws(() => picked("/a"), { code: "COPY_FAILED", message: /too many links/ });
    assert.throws(() => picked("/gone"), { code: "CONTEXT_PATH_MISSING", message: /"\/gone": not found/ });
  });

  it("never shows what a link of the tree points to outside", () => {
    symlinkSync("/etc", join(dir, "out"));
    assert.throws(() => picked("/out/passwd"), { code: "CONTEXT_PATH_MISSING" });
  });

  it("says which ignore pattern hides a path", () => {
    writeTree(dir, { "secret/key": "" });
    assert.throws(() => picked("/secret/key", ["*.md", "secret"]), {
      code: "CONTEXT_PATH_MISSING",
      message: /"\/secret\/key": not found/,
      hint: /"secret" in .dockerignore/,
    });
  });

  it("shows an ignored directory when something in it is taken back", () => {
    writeTree(dir, { "d/a": "", "d/sub/keep": "", "d/sub/no": "", "e/x": "" });
    assert.deepEqual(picked("/", ["*", "!d/sub/keep"]), ["", "d", "d/sub", "d/sub/keep"]);
    assert.throws(() => picked("/d", ["d", "!d/nothing"]), { code: "CONTEXT_PATH_MISSING" });
  });

  it("does not enter directories that cannot hold anything chosen", () => {
    writeTree(dir, { "node_modules/m/i": "", "src/a": "" });
    const entered: string[] = [];
    const live = liveTree(dir, () => null);
    const watched = filterTree(
      { ...live, children: (path) => (entered.push(path), live.children(path)) },
      { includes: [], excludes: ["node_modules", "!src/*"] },
    );
    const [match] = findMatches(watched, selector("/"));
    assert.ok(match);
    walkMatch(watched, match, selector("/"), { enter: () => {} });
    assert.deepEqual(entered, ["", "src"]);
  });

  it("marks directories that only lead to included paths", () => {
    writeTree(dir, { "x/y/c.txt": "", "x/d.txt": "", "z/e": "" });
    const change = { includePatterns: ["x/y/*.txt"], excludePatterns: [] };
    assert.deepEqual(picked("/", [], change), ["", "x (way)", "x/y (way)", "x/y/c.txt"]);
    assert.deepEqual(picked("/", [], { excludePatterns: ["**", "!z/e"] }), ["", "z (way)", "z/e"]);
  });

  describe("content keys", () => {
    const digest = (excludes: readonly string[] = [], change: Partial<CopyAction> = {}): Digest =>
      selectDigest(tree(excludes), [selector("/", change)]);
    const files: Files = { "a/f": "text", "a/link": ["link", "f"], empty: "" };

    it("do not depend on times or on where the tree lies", () => {
      writeTree(dir, files);
      const first = digest();
      utimesSync(join(dir, "a/f"), 1, 2);
      assert.equal(digest(), first);
      const elsewhere = writeTree(join(dir, "..", `${dir.slice(dir.lastIndexOf("/") + 1)}-copy`), files);
      try {
        assert.equal(
          selectDigest(
            liveTree(elsewhere, () => null),
            [selector("/")],
          ),
          first,
        );
      } finally {
        rmSync(elsewhere, { recursive: true });
      }
    });

    const changes: Record<string, () => void> = {
      "the content of a file": () => writeFileSync(join(dir, "a/f"), "tex7"),
      "a name": () => execFileSync("mv", [join(dir, "a/f"), join(dir, "a/g")]),
      "a mode": () => chmodSync(join(dir, "a/f"), 0o755),
      "the mode of a directory": () => chmodSync(join(dir, "a"), 0o700),
      "a link": () => execFileSync("ln", ["-sfn", "g", join(dir, "a/link")]),
      "a new empty directory": () => writeTree(dir, { new: null }),
      "the type of a file": () => execFileSync("sh", ["-c", 'rm "$0/empty" && mkfifo "$0/empty"', dir]),
      "a hard link instead of a copy": () => {
        rmSync(join(dir, "twin"));
        linkSync(join(dir, "a/f"), join(dir, "twin"));
      },
    };
    for (const [what, change] of Object.entries(changes)) {
      it(`change with ${what}`, () => {
        writeTree(dir, { ...files, twin: "text" });
        const first = digest();
        change();
        assert.notEqual(digest(), first);
      });
    }

    it("do not change with what is left out", () => {
      writeTree(dir, { ...files, "log/x": "1" });
      const [ignored, excluded] = [digest(["log"]), digest([], { excludePatterns: ["log"] })];
      writeTree(dir, { "log/x": "2", "log/y": "" });
      assert.equal(digest(["log"]), ignored);
      assert.equal(digest([], { excludePatterns: ["log"] }), excluded);
    });

    it("leave modes out where the copy sets them", () => {
      writeTree(dir, files);
      const first = digest([], { mode: 0o600 });
      chmodSync(join(dir, "a/f"), 0o777);
      assert.equal(digest([], { mode: 0o600 }), first);
    });

    it("never open special files", () => {
      execFileSync("mkfifo", [join(dir, "pipe")]);
      assert.match(digest(), /^sha256:/); // a FIFO without a writer would block for ever
    });

    it("are the same from descriptors, from paths, from threads and from a stat cache", async () => {
      writeTree(dir, { ...files, "b/\u00e9": "utf-8" });
      writeFileSync(Buffer.concat([Buffer.from(`${dir}/raw-`), Buffer.from([0xff])]), "not utf-8");
      writeFileSync(join(dir, "large"), "head");
      truncateSync(join(dir, "large"), 50 * 1024 * 1024); // enough for threads to be worth it
      const byPath = digest();
      const open = fdTree(openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY), { live: true });
      assert.equal(selectDigest(open, [selector("/")]), byPath);
      open.close();
      const { signal } = new AbortController();
      const known = new Map<string, Digest>();
      const onHashed = (path: string, _: unknown, found: Digest) => known.set(path, found);
      assert.equal(await selectDigestLive(tree(), dir, [selector("/")], { signal, onHashed }), byPath);
      assert.equal(known.size, 4);
      const cached = liveTree(dir, (path) => known.get(path) ?? null);
      const untouched = { ...cached, open: () => assert.fail("read although known") };
      assert.equal(await selectDigestLive(untouched, dir, [selector("/")], { signal }), byPath);
    });

    it("fail with the user's error when files vanish meanwhile, also on threads", async () => {
      writeTree(dir, { gone: "text" });
      const { signal } = new AbortController();
      for (const size of [4, 64 * 1024 * 1024]) {
        truncateSync(join(dir, "gone"), size);
        const live = liveTree(dir, () => null);
        const vanishing = { ...live, open: (path: string) => live.open(`${path}-not`) };
        await assert.rejects(selectDigestLive(vanishing, `${dir}-not`, [selector("/")], { signal }), {
          code: "CONTEXT_CHANGED",
        });
      }
    });

    it("stop when they are cancelled", async () => {
      writeFileSync(join(dir, "large"), "");
      truncateSync(join(dir, "large"), 64 * 1024 * 1024);
      const controller = new AbortController();
      const reason = new Error("cancelled");
      const running = selectDigestLive(tree(), dir, [selector("/")], { signal: controller.signal });
      controller.abort(reason);
      await assert.rejects(running, reason);
    });

    it("leave turns to others while they go through many names, so that a signal is heard", async () => {
      for (let at = 0; at < 6; at++) {
        mkdirSync(join(dir, `d${at}`));
        for (let name = 0; name < 1000; name++) writeFileSync(join(dir, `d${at}`, `${name}`), "");
      }
      const controller = new AbortController();
      const reason = new Error("cancelled in the middle");
      let seen = 0;
      const live = liveTree(dir, () => null);
      const counting = { ...live, children: (path: string) => (seen++, live.children(path)) };
      const running = selectDigestLive(counting, dir, [selector("/")], { signal: controller.signal });
      setImmediate(() => controller.abort(reason));
      await assert.rejects(running, reason);
      assert.ok(seen < 6, `${seen} directories were read before`);
      live.close();
    });
  });
});
