import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { selectDigest } from "../../cache/path-hash.ts";
import { filterTree } from "../../cache/tree-filter.ts";
import { liveTree } from "../../cache/tree-live.ts";
import { copySelector } from "../../cache/tree-select.ts";
import type { CopyAction, FileAction } from "../../solver/graph/op.ts";
import { parseMode } from "../../worker/ops/mode.ts";
import { lgetxattr, lsetxattr } from "../../worker/sys/file.ts";
import { describeAsRoot, itAsMachineRoot } from "../support/privileges.ts";
import { type Bench, copy, type Files, openBench, writeTree } from "./file-op-fixture.ts";

describeAsRoot("copying into a layer", () => {
  let bench: Bench;
  afterEach(() => bench.dispose());
  const open = (context: Files, base: Files = {}, excludes: readonly string[] = []): Bench => {
    bench = openBench(context, base, excludes);
    return bench;
  };
  const mode = (path: string): string => (lstatSync(join(bench.upper, path)).mode & 0o7777).toString(8);
  const owner = (path: string): string => {
    const { uid, gid } = lstatSync(join(bench.upper, path));
    return `${uid}:${gid}`;
  };

  describe("puts things where BuildKit puts them", () => {
    const context: Files = { f: "f", "d/x": "x", "d/sub/y": "y" };
    const cases: readonly (readonly [
      what: string,
      src: string,
      dest: string,
      Partial<CopyAction>,
      Files,
      Record<string, string>,
    ])[] = [
      ["a file to a new name", "/f", "/out/g", {}, {}, { "out/": "", "out/g": "f" }],
      ["a file into a new directory", "/f", "/out/g/", {}, {}, { "out/": "", "out/g/": "", "out/g/f": "f" }],
      ["a file into an existing directory", "/f", "/out", {}, { out: null }, { "out/": "", "out/f": "f" }],
      ["a file over a file", "/f", "/out", {}, { out: "old" }, { out: "f" }],
      [
        "a file over a link, through it",
        "/f",
        "/l",
        {},
        { l: ["link", "/t"], t: "old" },
        { l: "->/t", t: "f" },
      ],
      [
        "a file through a dangling link",
        "/f",
        "/l",
        {},
        { l: ["link", "/a/b"] },
        { "a/": "", "a/b": "f", l: "->/a/b" },
      ],
      [
        "a file in place of a link in a directory",
        "/f",
        "/",
        {},
        { f: ["link", "/t"], t: "old" },
        { f: "f", t: "old" },
      ],
      [
        "the content of a directory",
        "/d",
        "/out",
        {},
        {},
        { "out/": "", "out/sub/": "", "out/sub/y": "y", "out/x": "x" },
      ],
      [
        "a directory into one",
        "/d",
        "/out",
        { dirCopyContents: false },
        { out: null },
        { "out/": "", "out/d/": "", "out/d/sub/": "", "out/d/sub/y": "y", "out/d/x": "x" },
      ],
      [
        "a directory as a new one",
        "/d/sub",
        "/out",
        { dirCopyContents: false },
        {},
        { "out/": "", "out/y": "y" },
      ],
      [
        "content merged with what is there",
        "/d",
        "/out",
        {},
        { "out/sub/old": "", "out/x": "old" },
        { "out/": "", "out/sub/": "", "out/sub/old": "", "out/sub/y": "y", "out/x": "x" },
      ],
      [
        "content through a link to a directory",
        "/d/sub",
        "/l",
        {},
        { l: ["link", "t"], t: null },
        { l: "->t", "t/": "", "t/y": "y" },
      ],
      ["all that a wildcard matches", "/d/*", "/out/", {}, {}, { "out/": "", "out/x": "x", "out/y": "y" }],
      [
        "nothing that an exclusion names",
        "/",
        "/out/",
        { excludePatterns: ["d/sub", "f"] },
        {},
        { "out/": "", "out/d/": "", "out/d/x": "x" },
      ],
      [
        "included paths with their parents",
        "/",
        "/out/",
        { includePatterns: ["d/sub/y"] },
        {},
        { "out/": "", "out/d/": "", "out/d/sub/": "", "out/d/sub/y": "y" },
      ],
      [
        "a file in place of a directory when told so",
        "/f",
        "/out",
        { alwaysReplaceExistingDestPaths: true },
        { "out/f/deep": "" },
        { "out/": "", "out/f": "f" },
      ],
      ["names that climb, inside the root", "/f", "/../../out/../g", {}, {}, { g: "f" }],
    ];
    for (const [what, src, dest, change, base, expected] of cases) {
      it(what, async () => {
        open(context, base);
        await bench.run([copy(src, dest, change)]);
        assert.deepEqual(bench.merged(), expected);
      });
    }
  });

  it("fails on a directory where a file should be, on a file where a directory should be", async () => {
    open({ "one/s": "file", "two/s/x": "" }, { "out/s/x": "", "dir/s": "file" });
    await assert.rejects(bench.run([copy("/one", "/out/")]), {
      code: "COPY_FAILED",
      message: /cannot replace to directory \/out\/s with file/,
    });
    await assert.rejects(bench.run([copy("/two", "/dir/")]), {
      code: "COPY_FAILED",
      message: /cannot copy to non-directory: \/dir\/s/,
    });
    await assert.rejects(bench.run([copy("/one", "/dir/s/deep/")]), {
      code: "COPY_FAILED",
      message: /not a directory/,
    });
  });

  it("fails for sources that are missing, hidden, or matched by nothing", async () => {
    open({ hidden: "" }, {}, ["hidden"]);
    await assert.rejects(bench.run([copy("/none", "/")]), {
      code: "CONTEXT_PATH_MISSING",
      message: /"\/none": not found/,
    });
    await assert.rejects(bench.run([copy("/hidden", "/")]), {
      code: "CONTEXT_PATH_MISSING",
      hint: /"hidden"/,
    });
    await assert.rejects(bench.run([copy("/*.x", "/", { allowEmptyWildcard: false })]), {
      code: "CONTEXT_PATH_MISSING",
      message: "/*.x not found",
    });
    // As BuildKit's frontend gives it: a path of the source's root.
    for (const src of ["/", "/from"])
      await assert.rejects(bench.run([copy(src, "/", { requiredPaths: ["/from/absent"] })]), {
        code: "CONTEXT_PATH_MISSING",
        message: /"\/from\/absent": not found/,
      });
    await assert.rejects(bench.run([copy("/", "/", { requiredPaths: ["absent"] })]), {
      message: /"\/absent": not found/,
    });
    await bench.run([copy("/*.x", "/made/")]);
    assert.deepEqual(bench.merged(), {});
  });

  // Patterns of what is included do not look behind links, so nothing would be copied.
  it("refuses a required path behind a link, and one that is the source itself", async () => {
    open({ "d/f": "f", l: ["link", "d"], "d/l": ["link", "nowhere"] }, {});
    const parents = (src: string, path: string): FileAction =>
      copy(src, "/o/", { includePatterns: [path], requiredPaths: [path] });
    for (const [src, path, shown] of [
      ["/", "l/f", "/l/f"],
      ["/", "d/f/x", "/d/f/x"],
      ["/", "", "/"],
      ["/d", "", "/d"],
    ] as const) {
      await assert.rejects(bench.run([parents(src, path)]), {
        code: "CONTEXT_PATH_MISSING",
        message: `failed to calculate checksum of ref: ${JSON.stringify(shown)}: not found`,
      });
    }
    await bench.run([parents("/l", "f"), parents("/", "d/l")]);
    assert.deepEqual(bench.merged(), { "o/": "", "o/d/": "", "o/d/l": "->nowhere", "o/f": "f" });
  });

  it("never writes through links of the image to the outside", async () => {
    open({ "d/f": "f" }, {});
    const outside = join(bench.dir, "outside");
    mkdirSync(outside);
    writeTree(bench.base, {
      up: ["link", `../../../../../../../..${outside}`],
      abs: ["link", outside],
      "m/d": ["link", outside],
    });
    await bench.run([copy("/d/f", "/up/"), copy("/d/f", "/abs/g")]);
    await assert.rejects(bench.run([copy("/", "/m/")]), /cannot copy to non-directory/);
    assert.deepEqual(execFileSync("ls", ["-A", outside]).toString(), "");
    assert.equal(readFileSync(join(bench.upper, outside, "g"), "utf8"), "f");
  });

  it("keeps modes and times of files and directories, but not of the destination", async () => {
    open({ "d/f": "f", "d/sub/g": "g" });
    chmodSync(join(bench.context, "d/f"), 0o4751);
    chmodSync(join(bench.context, "d/sub"), 0o1770);
    chmodSync(join(bench.context, "d"), 0o700);
    for (const path of ["d/f", "d/sub", "d"]) utimesSync(join(bench.context, path), 1000, 1500.25);
    await bench.run([copy("/d", "/out/")]);
    assert.deepEqual([mode("out"), mode("out/f"), mode("out/sub")], ["755", "4751", "1770"]);
    for (const path of ["out/f", "out/sub", "out"])
      assert.equal(lstatSync(join(bench.upper, path)).mtimeMs, 1500250);
  });

  it("gives a time to everything when it is told one", async () => {
    open({ "d/f": "f", "d/l": ["link", "f"] });
    await bench.run([copy("/d", "/new/out/", { timestampNs: 5_000_000_000n })]);
    for (const path of ["new/out/f", "new/out/l", "new/out"]) {
      assert.equal(lstatSync(join(bench.upper, path)).mtimeMs, 5000, path);
    }
  });

  it("sets modes by number everywhere, and by symbols on what is copied", async () => {
    open({ "d/f": "f", "d/run": "" });
    chmodSync(join(bench.context, "d/run"), 0o755);
    await bench.run([copy("/d", "/a/b/", { mode: 0o640 }), copy("/d", "/c/d/", { modeStr: "go-rwx,u+X" })]);
    assert.deepEqual(["a", "a/b", "a/b/f", "a/b/run"].map(mode), ["640", "640", "640", "640"]);
    assert.deepEqual(["c", "c/d", "c/d/f", "c/d/run"].map(mode), ["755", "755", "600", "700"]);
  });

  itAsMachineRoot("owns files of a context by root, and keeps the owners of an image's", async () => {
    open({ f: "f" }, {});
    const layer = writeTree(join(bench.dir, "other"), { g: "g", "s/h": "h" });
    chownSync(join(bench.context, "f"), 7, 8);
    chownSync(join(layer, "g"), 7, 3_000_000_000);
    await bench.run(
      [
        copy("/f", "/f"),
        copy("/g", "/g", { from: 1 }),
        copy("/s", "/n/s", { from: 1, owner: numbers(5, 6) }),
      ],
      {
        inputs: [
          { kind: "files", root: bench.context, excludes: [], includes: [] },
          { kind: "layers", dirs: [layer] },
        ],
      },
    );
    assert.deepEqual(["f", "g", "n", "n/s", "n/s/h"].map(owner), [
      "0:0",
      "7:3000000000",
      "5:6",
      "5:6",
      "5:6",
    ]);
  });

  it("keeps hard links within one source", async () => {
    open({ "a/1": "same", "b/x": "" });
    linkSync(join(bench.context, "a/1"), join(bench.context, "a/2"));
    linkSync(join(bench.context, "a/1"), join(bench.context, "b/3"));
    await bench.run([copy("/", "/all/"), copy("/a/*", "/each/")]);
    const inode = (path: string): number => statSync(join(bench.upper, path)).ino;
    assert.equal(inode("all/a/1"), inode("all/a/2"));
    assert.equal(inode("all/a/1"), inode("all/b/3"));
    assert.notEqual(inode("each/1"), inode("each/2"));
  });

  it("makes FIFOs again, and empty files of a context's sockets", async () => {
    open({});
    execFileSync("mkfifo", ["-m", "622", join(bench.context, "p")]);
    const server = createServer().listen(join(bench.context, "s"));
    await once(server, "listening");
    chmodSync(join(bench.context, "s"), 0o751);
    await bench.run([copy("/", "/out/")]);
    assert.ok(statSync(join(bench.upper, "out/p")).isFIFO());
    assert.equal(mode("out/p"), "622");
    assert.ok(statSync(join(bench.upper, "out/s")).isFile());
    assert.deepEqual([mode("out/s"), statSync(join(bench.upper, "out/s")).size], ["751", 0]);
    server.close();
  });

  it("keeps holes, and every byte around them", async () => {
    open({ sparse: "start" });
    const path = join(bench.context, "sparse");
    truncateSync(path, 40 * 1024 * 1024);
    execFileSync("sh", [
      "-c",
      'printf middle | dd of="$0" bs=1 seek=20000001 conv=notrunc 2>/dev/null',
      path,
    ]);
    const layer = join(bench.dir, "layer");
    mkdirSync(layer);
    execFileSync("cp", ["--sparse=always", path, layer]);
    await bench.run([copy("/sparse", "/a"), copy("/sparse", "/b", { from: 1 })], {
      inputs: [
        { kind: "files", root: bench.context, excludes: [], includes: [] },
        { kind: "layers", dirs: [layer] },
      ],
    });
    for (const name of ["a", "b"]) {
      const copied = join(bench.upper, name);
      assert.ok(readFileSync(copied).equals(readFileSync(path)), name);
      assert.ok(statSync(copied).blocks * 512 < 8 * 1024 * 1024, `${name} has holes`);
    }
  });

  it("copies attributes of an image's files, but none that mean something to the mount or to us", async () => {
    open({}, {});
    const layer = writeTree(join(bench.dir, "layer"), { f: "f", "d/x": "" });
    lsetxattr(join(layer, "f"), "user.k", Buffer.from("v"));
    lsetxattr(join(layer, "f"), "user.tsbuild.other", Buffer.from("1"));
    lsetxattr(join(layer, "d"), "user.overlay.opaque", Buffer.from("y"));
    await bench.run([copy("/", "/out/")], { inputs: [{ kind: "layers", dirs: [layer] }] });
    assert.equal(lgetxattr(join(bench.upper, "out/f"), "user.k")?.toString(), "v");
    assert.equal(lgetxattr(join(bench.upper, "out/f"), "user.tsbuild.other"), null);
    assert.equal(lgetxattr(join(bench.upper, "out/d"), "user.overlay.opaque"), null);
  });

  it("reads stacked layers as one tree, without what later ones removed", async () => {
    open({}, {});
    const [old, young] = ["old", "young"].map((name) => join(bench.dir, name)) as [string, string];
    writeTree(old, { "d/gone": "1", "d/kept": "1" });
    writeTree(young, { "d/new": "2" });
    const removal = openBench({}, { "d/gone": "1" });
    try {
      await removal.run([
        { kind: "rm", base: null, output: 0, path: "/d/gone", allowNotFound: false, allowWildcard: false },
      ]);
      await bench.run([copy("/d", "/out/")], {
        inputs: [{ kind: "layers", dirs: [old, young, removal.upper] }],
      });
    } finally {
      removal.dispose();
    }
    assert.deepEqual(bench.merged(), { "out/": "", "out/kept": "1", "out/new": "2" });
  });

  it("reports the digest of what it really copied, in the form of a content key", async () => {
    open({ "d/f": "f", "d/e": "", l: ["link", "d/f"], "log/x": "" }, {}, ["log"]);
    linkSync(join(bench.context, "d/f"), join(bench.context, "twin"));
    const actions = [copy("/", "/out/"), copy("/d/*", "/each/", { mode: 0o600 })];
    const tree = filterTree(
      liveTree(bench.context, () => null),
      { includes: [], excludes: ["log"] },
    );
    const key = selectDigest(
      tree,
      actions.map((action) => copySelector(action)),
    );
    assert.equal((await bench.run(actions)).readDigest, key);
    rmSync(bench.upper, { recursive: true });
    mkdirSync(bench.upper);
    writeFileSync(join(bench.context, "d/f"), "changed since");
    assert.notEqual((await bench.run(actions)).readDigest, key);
  });
});

describe("symbolic modes", () => {
  const cases: readonly (readonly [text: string, before: number, isDirectory: boolean, after: number])[] = [
    ["u+rw,go-w", 0o022, false, 0o600],
    ["go-rx", 0o755, false, 0o700],
    ["a=r", 0o4755, false, 0o444],
    ["+x", 0o644, false, 0o755],
    ["u=rwX,go=rX", 0o600, true, 0o755],
    ["u=rwX,go=rX", 0o640, false, 0o644],
    ["u=rwX,go=rX", 0o750, false, 0o755],
    ["a=X", 0o644, false, 0],
    ["a=X", 0o744, false, 0o111],
    ["a-X", 0o755, true, 0o644],
    ["go-X", 0o755, false, 0o744],
    ["u=gX", 0o650, false, 0o550],
    ["u=gX", 0o444, true, 0o544],
    ["a-x,a+X", 0o744, false, 0o755],
    ["u=rw,go=u,go-w,a+X", 0o700, true, 0o755],
    ["+rt", 0, false, 0o1000],
    ["a+rt", 0, false, 0o1444],
    ["a+X", 0o600, false, 0o600],
    ["a+X", 0o700, false, 0o711],
    ["a+X", 0o600, true, 0o711],
    ["g=u", 0o640, false, 0o660],
    ["go=u-w", 0o755, false, 0o755],
    ["u+s,g+s", 0o755, false, 0o6755],
    ["+t", 0o777, true, 0o1777],
    ["o+s", 0o755, false, 0o755],
    ["u=g", 0o4711, false, 0o4111],
    ["a+rwxg", 0o040, false, 0o777],
    ["u=rg", 0o4751, false, 0o551],
    ["0750", 0o777, false, 0o750],
  ];
  for (const [text, before, isDirectory, after] of cases) {
    it(`${text} makes ${before.toString(8)} of a ${isDirectory ? "directory" : "file"} ${after.toString(8)}`, () => {
      assert.equal(parseMode(text)(before, isDirectory).toString(8), after.toString(8));
    });
  }
  it("are refused when they are something else", () => {
    for (const text of ["rwx", "", "99999", "u", "u+q", "u+r,"])
      assert.throws(() => parseMode(text), { code: "COPY_FAILED" });
  });
});

function numbers(uid: number, gid: number): CopyAction["owner"] {
  return { user: { kind: "id", id: uid }, group: { kind: "id", id: gid } };
}
