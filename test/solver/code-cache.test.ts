// Compiled code is run unchecked, so it is loaded only if nobody else could have written it, and only if complete. A bundle
// that prints "honest" is given the code of one that prints "hostile" and is otherwise equal in everything V8 compares.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { projectDir } from "../support/project.ts";
import { removeTree } from "../support/store.ts";
import { ordinaryUser } from "../support/unprivileged.ts";

describe("compiled code kept for the next start", function () {
  this.timeout(20_000);
  let dir = "";
  let hostileCode = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "code-"));
    for (const word of ["honest", "hostile"]) program(word);
    const home = join(dir, "hostile-home");
    mkdirSync(home);
    assert.equal(start("hostile", { HOME: home }), "hostile");
    [hostileCode = ""] = codeIn(join(home, ".cache/tsbuild"));
    assert.notEqual(hostileCode, "");
  });
  after(() => removeTree(dir));

  /** A tsbuild whose bundle prints a word. Both have the same first line and length. */
  function program(word: string): void {
    const root = join(dir, word, "dist");
    for (const path of ["bin", "bundle", "solver/graph"]) mkdirSync(join(root, path), { recursive: true });
    for (const file of ["bin/tsbuild.cjs", "solver/graph/bundle.cjs", "solver/graph/code-cache.cjs"])
      copyFileSync(join(projectDir, "dist", file), join(root, file));
    const source = `console.log(${JSON.stringify(word.padEnd(10))});\nprocess.exitCode = process.argv.includes("fail") ? 1 : 0;\nif (process.argv.includes("keeper")) require("node:fs").writeFileSync(process.env.TSBUILD_CODE_CACHE + "/keeper", "");\n// ${"x".repeat(40_000)}\n`;
    writeFileSync(join(root, "bundle/main.cjs"), `// ${"0".repeat(64)}\n${source}`);
  }
  /** What `tsbuild build` of that program prints. */
  function start(word: string, env: Readonly<Record<string, string>>, args = ["build"], code = 0): string {
    const file = join(dir, word, "dist/bin/tsbuild.cjs");
    const { status, stdout, stderr } = spawnSync(process.execPath, [file, ...args], {
      env: { PATH: process.env.PATH, ...env },
      encoding: "utf8",
    });
    assert.equal(status, code, stderr);
    return stdout.trim();
  }
  function codeIn(directory: string): string[] {
    return readdirSync(directory).map((name) => join(directory, name));
  }

  let homes = 0;
  /** A home whose cache has the hostile code. `change`: what is wrong with it. */
  function home(change: (caches: string, code: string) => void = () => {}): string {
    const own = join(dir, `home-${homes++}`);
    const caches = join(own, ".cache/tsbuild");
    mkdirSync(caches, { recursive: true, mode: 0o700 });
    const code = join(caches, hostileCode.slice(dirname(hostileCode).length + 1));
    copyFileSync(hostileCode, code);
    chmodSync(code, 0o600);
    change(caches, code);
    return own;
  }

  it("is trusted in directories only this user can change, also below a sticky one", () => {
    // Were it not, the tests below would show nothing.
    assert.equal(start("honest", { HOME: home() }), "hostile");
    assert.equal(
      start("honest", { HOME: home((caches) => chmodSync(join(caches, "../.."), 0o1777)) }),
      "hostile",
    );
  });

  const changes: Record<string, (caches: string, code: string) => void> = {
    "its directory can be written by a group": (caches) => chmodSync(caches, 0o770),
    "its directory can be written by all, sticky or not": (caches) => chmodSync(caches, 0o1777),
    "a directory above can be written by all": (caches) => chmodSync(dirname(caches), 0o777),
    "a directory further up can be written by all": (caches) => chmodSync(join(caches, "../.."), 0o777),
    "it can be written by a group": (_, code) => chmodSync(code, 0o660),
    "it is a link": (_, code) => {
      renameSync(code, `${code}.elsewhere`);
      symlinkSync(`${code}.elsewhere`, code);
    },
    "its directory is a link to one that others can write": (caches) => {
      const open = `${dirname(caches)}/../open`;
      renameSync(caches, open);
      chmodSync(open, 0o777);
      symlinkSync(open, caches);
    },
    "it is a FIFO": (_, code) => {
      rmSync(code);
      execFileSync("mkfifo", [code]);
    },
    "a power cut has emptied its second half": (_, code) => {
      const bytes = readFileSync(code);
      writeFileSync(code, Buffer.concat([bytes, Buffer.alloc(8192)]).fill(0, bytes.length >> 1));
    },
    "its end is missing": (_, code) => truncateSync(code, statSync(code).size - 1),
    "it is empty": (_, code) => truncateSync(code),
    "it is another bundle's": (_, code) =>
      writeFileSync(code, readFileSync(code, "latin1").replace("// 0", "// 1"), "latin1"),
  };
  if (process.getuid?.() === 0) {
    const { uid } = ordinaryUser();
    changes["its directory belongs to somebody else"] = (caches) => chownSync(caches, uid, uid);
    changes["a directory above belongs to somebody else"] = (caches) =>
      chownSync(join(caches, "../.."), uid, uid);
    changes["it belongs to somebody else"] = (_, code) => chownSync(code, uid, uid);
  }
  for (const [why, change] of Object.entries(changes)) {
    it(`is not trusted where ${why}`, () => {
      assert.equal(start("honest", { HOME: home(change) }), "honest");
    });
  }

  it("is looked at as closely where TSBUILD_CODE_CACHE names the directory", () => {
    const believed = (mode: number): string => {
      let named = "";
      home((caches) => {
        named = caches;
        chmodSync(caches, mode);
      });
      return start("honest", { TSBUILD_CODE_CACHE: named });
    };
    assert.deepEqual([believed(0o755), believed(0o775), believed(0o757)], ["hostile", "honest", "honest"]);
  });

  if (process.getuid?.() === 0) {
    it("is not kept in the home of another user, whose name root was lent", () => {
      const lent = join(dir, "lent");
      mkdirSync(lent);
      chownSync(lent, ordinaryUser().uid, ordinaryUser().gid);
      assert.equal(start("honest", { HOME: lent }), "honest");
      assert.deepEqual(readdirSync(lent), []);
    });
  }

  it("does without where there is no place for it", () => {
    for (const HOME of ["/proc/nowhere", "/dev/null", "", "relative", join(dir, "nobody")])
      assert.equal(start("honest", { HOME }), "honest");
    assert.ok(!readdirSync(dir).includes("nobody"));
    const own = home();
    assert.equal(start("honest", { HOME: own, TSBUILD_CODE_CACHE: "" }), "honest");
  });

  it("lies where XDG_CACHE_HOME says, or TSBUILD_CODE_CACHE, closed to others whatever the umask", () => {
    const xdg = join(dir, "xdg");
    mkdirSync(xdg);
    chmodSync(xdg, 0o755);
    const umask = process.umask(0);
    start("honest", { HOME: join(dir, "nobody"), XDG_CACHE_HOME: xdg });
    process.umask(umask);
    const [code = ""] = codeIn(join(xdg, "tsbuild"));
    assert.equal(statSync(join(xdg, "tsbuild")).mode & 0o777, 0o700);
    assert.equal(statSync(code).mode & 0o777, 0o600);
    start("honest", { TSBUILD_CODE_CACHE: join(xdg, "own") });
    assert.equal(codeIn(join(xdg, "own")).length, 1);
  });

  it("is written by three builds, and neither by a failed one nor by what builds nothing", () => {
    const own = join(dir, "rounds");
    mkdirSync(own);
    for (const args of [["images"], ["build", "--help"], ["--version"]]) start("honest", { HOME: own }, args);
    assert.deepEqual(readdirSync(own), []);
    start("honest", { HOME: own }, ["build", "fail"], 1);
    assert.deepEqual(codeIn(join(own, ".cache/tsbuild")), []);
    const times = [1, 2, 3, 4, 5].map(() => {
      start("honest", { HOME: own });
      const [code = "", ...more] = codeIn(join(own, ".cache/tsbuild"));
      assert.deepEqual(more, []);
      return statSync(code, { bigint: true }).mtimeNs;
    });
    assert.equal(new Set(times).size, 3, times.join(" "));
  });

  it("is added to by a later build whose keeper still adds to its own", () => {
    const own = join(dir, "later");
    mkdirSync(own);
    const written = (...args: string[]): bigint => {
      start("honest", { HOME: own }, ["build", ...args]);
      const [code = ""] = codeIn(join(own, ".cache/tsbuild")).filter((file) => file.endsWith(".code"));
      return statSync(code, { bigint: true }).mtimeNs;
    };
    for (let round = 0; round < 3; round++) written();
    const before = written();
    const after = written("keeper");
    assert.notEqual(after, before);
    assert.equal(written(), after);
  });

  it("is removed when it has not been written for long and there is much of it, with what killed processes left", () => {
    const own = home();
    const caches = join(own, ".cache/tsbuild");
    const [current = ""] = codeIn(caches);
    const old = new Date(Date.now() - 7_200_000);
    const put = (name: string): void => {
      writeFileSync(join(caches, name), "");
      utimesSync(join(caches, name), old, old);
    };
    for (let index = 0; index < 40; index++) put(`main-0123456789ab-v${index}.0.0-x64-0.code`);
    put("main-0123456789ab-v1.0.0-x64-0.code.k3f9x0");
    put("notes");
    writeFileSync(join(caches, "main-0123456789ab-v1.0.0-x64-0.code.p0a7zz"), ""); // of one that may still run
    start("honest", { HOME: own });
    const left = readdirSync(caches);
    assert.equal(left.filter((name) => name.endsWith(".code")).length, 28);
    assert.ok(codeIn(caches).includes(current));
    assert.deepEqual(
      left.filter((name) => !name.endsWith(".code")),
      ["main-0123456789ab-v1.0.0-x64-0.code.p0a7zz", "notes"],
    );
  });
});
