import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { selectDigest } from "../../cache/path-hash.ts";
import { liveTree } from "../../cache/tree-live.ts";
import type { ChownOpt, FileAction } from "../../solver/graph/op.ts";
import { runFileJob } from "../../worker/ops/file.ts";
import { materialize, readInRoot } from "../../worker/ops/materialize.ts";
import { runSelectJob } from "../../worker/ops/select.ts";
import { lgetxattr } from "../../worker/sys/file.ts";
import { describeAsRoot, describeWithIds } from "../support/privileges.ts";
import { type Bench, copy, type Files, openBench, readTree, writeTree } from "./file-op-fixture.ts";

const BASE = { base: null, output: 0 } as const;
const PLAIN = { owner: null, timestampNs: null, ...BASE } as const;
const mkdir = (path: string, change: Partial<Extract<FileAction, { kind: "mkdir" }>> = {}): FileAction => ({
  kind: "mkdir",
  path,
  mode: 0o755,
  makeParents: true,
  ...PLAIN,
  ...change,
});
const mkfile = (
  path: string,
  text: string,
  change: Partial<Extract<FileAction, { kind: "mkfile" }>> = {},
): FileAction => ({
  kind: "mkfile",
  path,
  mode: 0o644,
  data: Buffer.from(text),
  ...PLAIN,
  ...change,
});
const rm = (path: string, change: Partial<Extract<FileAction, { kind: "rm" }>> = {}): FileAction => ({
  kind: "rm",
  path,
  allowNotFound: false,
  allowWildcard: false,
  ...BASE,
  ...change,
});
const named = (user: string | null, group: string | null = null, input: number | null = 0): ChownOpt => ({
  user: user === null ? null : { kind: "name", name: user, input },
  group: group === null ? null : { kind: "name", name: group, input },
});

describeAsRoot("file operations", () => {
  let bench: Bench;
  afterEach(() => bench.dispose());
  const open = (base: Files = {}, context: Files = {}): Bench => {
    bench = openBench(context, base);
    return bench;
  };
  const seen = (path: string): { mode: string; owner: string; mtimeMs: number } => {
    const { mode, uid, gid, mtimeMs } = lstatSync(join(bench.upper, path));
    return { mode: (mode & 0o7777).toString(8), owner: `${uid}:${gid}`, mtimeMs };
  };

  it("make a directory with its parents, through links and inside the root", async () => {
    open({ l: ["link", "../../t"], t: null });
    await bench.run([mkdir("/l/a/b", { mode: 0o700, timestampNs: 7_000_000_000n }), mkdir("/t")]);
    assert.deepEqual(bench.merged(), { l: "->../../t", "t/": "", "t/a/": "", "t/a/b/": "" });
    assert.equal(seen("t/a/b").mode, "700");
    assert.equal(seen("t/a/b").mtimeMs, 7000);
  });

  it("refuse a directory below a file, and one without a parent", async () => {
    open({ f: "" });
    await assert.rejects(bench.run([mkdir("/f/d")]), {
      code: "COPY_FAILED",
      message: /mkdir \/f: not a directory/,
    });
    await assert.rejects(bench.run([mkdir("/no/d", { makeParents: false })]), { code: "COPY_FAILED" });
  });

  it("write files, and keep mode and owner of one that is there", async () => {
    open({ "d/old": "long text" });
    execFileSync("chmod", ["600", join(bench.base, "d/old")]);
    await bench.run([mkfile("/d/old", "new"), mkfile("/d/f", "made", { mode: 0o4755 })]);
    assert.deepEqual(bench.merged(), { "d/": "", "d/f": "made", "d/old": "new" });
    assert.deepEqual([seen("d/old").mode, seen("d/f").mode], ["600", "755"]);
  });

  it("never write into a FIFO of the image", async () => {
    open({});
    execFileSync("mkfifo", [join(bench.base, "p")]);
    await assert.rejects(bench.run([mkfile("/p", "x")]), { code: "COPY_FAILED" });
  });

  it("remove files, trees and what a wildcard matches, and links but not their targets", async () => {
    open({ "d/a/b": "", f: "", l: ["link", "keep"], "keep/x": "", "log/1.log": "", "log/2.txt": "" });
    await bench.run([
      rm("/d"),
      rm("/f"),
      rm("/l"),
      rm("/log/*.log", { allowWildcard: true }),
      rm("/none", { allowNotFound: true }),
    ]);
    assert.deepEqual(bench.merged(), { "keep/": "", "keep/x": "", "log/": "", "log/2.txt": "" });
    await assert.rejects(bench.run([rm("/none")]), { code: "COPY_FAILED", message: /no such file/ });
    await assert.rejects(bench.run([rm("/")]), { code: "COPY_FAILED" });
  });

  // What BuildKit's overlay differ leaves out, and what it would lose.
  it("have in their layer only what is not below already, as it is", async () => {
    bench = openBench({ same: "1", "d/same": "2", "d/other": "new", "d/late": "3" });
    execFileSync("cp", ["-a", "--", `${bench.context}/.`, bench.base]);
    execFileSync("sh", [
      "-c",
      `cd ${bench.base}; printf old > d/other; touch -r ${bench.context}/d/other d/other`,
    ]);
    utimesSync(join(bench.base, "d/late"), 1, 1);
    for (const name of ["d", "."]) {
      execFileSync("touch", ["-r", join(bench.context, name), join(bench.base, name)]);
    }
    await bench.run([copy("/", "/")]);
    assert.deepEqual(readTree(bench.upper), { "d/": "", "d/late": "3", "d/other": "new" });
  });

  it("delete by name what was in a directory that is removed and made again", async () => {
    open({ "d/old": "" });
    await bench.run([rm("/d"), mkdir("/d"), mkfile("/d/new", "")]);
    assert.deepEqual(bench.merged(), { "d/": "", "d/new": "" });
    assert.deepEqual(readTree(bench.upper), { "d/": "", "d/new": "", "d/old": "whiteout" });
    assert.equal(lgetxattr(join(bench.upper, "d"), "user.overlay.opaque"), null);
  });

  it("make links, and refuse to replace", async () => {
    open({ f: "" });
    const symlink: FileAction = { kind: "symlink", target: "any/where", path: "/l", ...PLAIN };
    await bench.run([symlink]);
    assert.deepEqual(bench.merged(), { f: "", l: "->any/where" });
    await assert.rejects(bench.run([{ ...symlink, path: "/f" }]), {
      code: "COPY_FAILED",
      message: /file exists/,
    });
  });

  it("see what earlier actions made", async () => {
    open({}, { f: "f" });
    await bench.run([mkdir("/w"), copy("/f", "/w"), rm("/w/f"), copy("/f", "/w/g")]);
    assert.deepEqual(bench.merged(), { "w/": "", "w/g": "f" });
  });

  it("work without a base", async () => {
    open({}, { f: "f" });
    await bench.run([mkdir("/w"), copy("/f", "/w/")], { base: [] });
    assert.deepEqual(readTree(bench.upper), { "w/": "", "w/f": "f" });
  });

  it("unpack archives where asked, copy them where not, and pass files that are none", async () => {
    open({}, { "t/x/y": "y", plain: "no archive" });
    execFileSync("tar", ["-czf", join(bench.context, "a.tgz"), "-C", join(bench.context, "t"), "x"]);
    const read = await bench.run([
      copy("/a.tgz", "/out", { attemptUnpack: true }),
      copy("/plain", "/file", { attemptUnpack: true }),
      copy("/a.tgz", "/kept"),
    ]);
    const { kept, ...rest } = bench.merged();
    assert.ok(kept !== undefined && kept.length > 0);
    assert.deepEqual(rest, { file: "no archive", "out/": "", "out/x/": "", "out/x/y": "y" });
    assert.ok(read.readDigest);
  });

  describeWithIds("an owner given to an archive", () => {
    it("is that of all members, but not of directories that are only in their names", async () => {
      open({}, { "t/x/y": "y", "t/x/z": "z" });
      execFileSync("tar", [
        "-cf",
        join(bench.context, "a.tar"),
        "-C",
        join(bench.context, "t"),
        "x/y",
        "x/z",
      ]);
      const owner = { user: { kind: "id", id: 1000 }, group: { kind: "id", id: 1001 } } as const;
      await bench.run([copy("/a.tar", "/out", { attemptUnpack: true, owner })]);
      const owners = ["out", "out/x", "out/x/y", "out/x/z"].map((path) => seen(path).owner);
      assert.deepEqual(owners, ["1000:1001", "0:0", "1000:1001", "1000:1001"]);
    });
  });

  describeWithIds("owners by name", () => {
    const accounts: Files = {
      "etc/passwd": "root:x:0:0::/:/bin/sh\napp:x:1000:1001:::\nbroken:x:none:5:::\n",
      "etc/group": "root:x:0:\nops:x:2000:app\n",
    };
    const run = async (owner: ChownOpt): Promise<string> => {
      await bench.run([mkfile("/f", "", { owner })], { inputs: [{ kind: "layers", dirs: [bench.base] }] });
      return seen("f").owner;
    };
    beforeEach(() => void open(accounts));

    it("come from the image's files", async () => {
      assert.equal(await run(named("app")), "1000:1001");
      assert.equal(await run(named("app", "ops")), "1000:2000");
      assert.equal(await run(named(null, "ops")), "0:2000");
      assert.equal(await run({ user: { kind: "id", id: 9 }, group: null }), "9:9");
    });

    it("are root for a name nobody has, as in BuildKit", async () => {
      assert.equal(await run(named("ghost")), "0:0");
    });

    it("are refused when the entry is broken or there is nowhere to look", async () => {
      await assert.rejects(run(named("broken")), { code: "USER_UNKNOWN", message: /no valid id/ });
      await assert.rejects(run(named("app", null, null)), {
        code: "USER_UNKNOWN",
        message: /invalid user index: -1/,
      });
    });

    it("are refused when the accounts are no file", async () => {
      rmSync(join(bench.base, "etc/passwd"));
      for (const make of ["mkdir", "mkfifo"]) {
        execFileSync(make, [join(bench.base, "etc/passwd")]);
        await assert.rejects(run(named("app")), {
          code: "USER_UNKNOWN",
          message: "/etc/passwd is not a regular file",
        });
        rmSync(join(bench.base, "etc/passwd"), { recursive: true });
      }
      assert.equal(await run(named("app")), "0:0");
    });

    it("are looked up inside the image only", async () => {
      rmSync(join(bench.base, "etc"), { recursive: true });
      writeTree(bench.base, {
        "etc/passwd": ["link", "/../../../../../../data/accounts"],
        "data/accounts": "app:x:77:78:::",
      });
      assert.equal(await run(named("app")), "77:78");
    });
  });

  it("are noted beside the files where the kernel has one id only", async () => {
    open({}, { f: "f", l: ["link", "f"] });
    await runFileJob(
      {
        kind: "file",
        base: [bench.base],
        upper: bench.upper,
        work: join(bench.dir, "work"),
        inputs: [{ kind: "files", root: bench.context, excludes: [], includes: [] }],
        actions: [
          copy("/", "/out/", { owner: { user: { kind: "id", id: 33 }, group: { kind: "id", id: 44 } } }),
        ],
        times: { epochSeconds: null },
      },
      { singleId: true },
    );
    for (const path of ["out", "out/f"]) {
      assert.match(String(lgetxattr(join(bench.upper, path), "user.tsbuild.owner")), /^1 33:44 /, path);
    }
    assert.equal(seen("out/f").owner, `${process.getuid?.()}:${process.getgid?.()}`);
  });
});

describeAsRoot("trees for steps", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-materialize-"));
    for (const name of ["upper", "context", "layer"]) mkdirSync(join(dir, name));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("are copies of what the ignore rules leave, with the digest of a subtree", async () => {
    const root = writeTree(join(dir, "context"), { "a/f": "f", "a/no": "", b: "" });
    const outcome = await materialize(
      {
        kind: "materialize",
        tree: { kind: "files", root, excludes: ["a/no"], includes: [] },
        selector: "/a",
        upper: join(dir, "upper"),
      },
      { singleId: false },
    );
    assert.deepEqual(readTree(join(dir, "upper")), { f: "f" });
    rmSync(join(root, "a/no"));
    const tree = liveTree(root, () => null);
    assert.equal(outcome.readDigest, selectDigest(tree, [{ kind: "subtree", path: "/a" }]));
  });

  it("have the mode of the directory they were taken from", async () => {
    writeTree(join(dir, "layer"), { "d/f": "f" });
    execFileSync("chmod", ["1777", join(dir, "layer/d")]);
    await materialize(
      {
        kind: "materialize",
        tree: { kind: "layers", dirs: [join(dir, "layer")] },
        selector: "d",
        upper: join(dir, "upper"),
      },
      { singleId: false },
    );
    assert.equal(statSync(join(dir, "upper")).mode & 0o7777, 0o1777);
    assert.deepEqual(readTree(join(dir, "upper")), { f: "f" });
  });

  it("have a content key that the layers do not change by being stacked otherwise", () => {
    const one = writeTree(join(dir, "one"), { "d/a": "a", "d/b": "b" });
    const [low, high] = [
      writeTree(join(dir, "low"), { "d/a": "a" }),
      writeTree(join(dir, "high"), { "d/b": "b" }),
    ];
    const key = (dirs: string[], path: string): string =>
      runSelectJob({
        kind: "select",
        tree: { kind: "layers", dirs },
        selectors: [{ kind: "subtree", path }],
      });
    assert.equal(key([one], "/d"), key([low, high], "/d"));
    assert.notEqual(key([one], "/d"), key([low], "/d"));
    assert.equal(key([], "/"), key([], "/"));
    assert.throws(() => key([low], "/d/b"), { code: "CONTEXT_PATH_MISSING" });
  });

  it("give single files, regular ones, inside the root, up to a limit", () => {
    const layer = writeTree(join(dir, "layer"), {
      "etc/os-release": "ID=test",
      link: ["link", "/etc/os-release"],
      out: ["link", "../../../../../../../../etc/passwd"],
    });
    execFileSync("mkfifo", [join(layer, "pipe")]);
    writeFileSync(join(layer, "big"), "");
    truncateSync(join(layer, "big"), 1000);
    const read = (path: string, maxBytes = 100): string | null => {
      const bytes = readInRoot({ kind: "read", dirs: [layer], path, maxBytes });
      return bytes === null ? null : Buffer.from(bytes).toString();
    };
    assert.equal(read("/etc/os-release"), "ID=test");
    assert.equal(read("/link"), "ID=test");
    for (const path of ["/out", "/pipe", "/etc", "/none", "/etc/os-release/x"])
      assert.equal(read(path), null, path);
    assert.throws(() => read("/big"), { code: "LIMIT_EXCEEDED" });
    assert.equal(readInRoot({ kind: "read", dirs: [], path: "/x", maxBytes: 1 }), null);
  });
});
