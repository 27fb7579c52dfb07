import assert from "node:assert/strict";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { copyTree, writeTreeTar } from "../../../cache/layers/export-tree.ts";
import { describeAsRoot, isMachineRoot } from "../../support/privileges.ts";
import { listTree, run, temporary } from "./support.ts";

describeAsRoot("tree export", () => {
  const temp = temporary();

  function sample(): string {
    const dir = temp();
    mkdirSync(join(dir, "d/e"), { recursive: true });
    writeFileSync(join(dir, "d/f"), "text", { mode: 0o640 });
    writeFileSync(join(dir, "d/suid"), "", { mode: 0o755 });
    chmodSync(join(dir, "d/suid"), 0o4755);
    linkSync(join(dir, "d/f"), join(dir, "d/hard"));
    symlinkSync("/etc/passwd", join(dir, "link"));
    writeFileSync(join(dir, ".wh.name"), "plain");
    for (const name of ["d/f", "d"]) utimesSync(join(dir, name), 1000, 1000);
    return dir;
  }

  it("writes a tar that other programs unpack to the same tree", () => {
    const [from, out, to] = [sample(), join(temp(), "out.tar"), temp()];
    writeTreeTar(from, out, { epochSeconds: null });
    run("tar", ["-C", to, "-xpf", out]);
    assert.deepEqual(listTree(to), listTree(from));
    assert.equal(statSync(join(to, "d")).mtimeMs, 1_000_000);
    assert.equal(statSync(join(to, "d/f")).ino, statSync(join(to, "d/hard")).ino);
  });

  it("gives all files the time of SOURCE_DATE_EPOCH, in both forms", () => {
    const [from, out] = [sample(), join(temp(), "out.tar")];
    writeTreeTar(from, out, { epochSeconds: 777 });
    assert.doesNotMatch(
      run("tar", ["--full-time", "-tvf", out], Buffer.alloc(0)).toString(),
      /1970-01-01 00:16/,
    );
    const to = temp();
    copyTree(from, to, { epochSeconds: 777 });
    for (const name of ["d", "d/f", "d/e"]) assert.equal(statSync(join(to, name)).mtimeMs, 777_000);
  });

  it("copies a tree, merges directories and replaces files", () => {
    const [from, to] = [sample(), temp()];
    mkdirSync(join(to, "d"));
    writeFileSync(join(to, "d/kept"), "kept");
    writeFileSync(join(to, "d/f"), "old and longer");
    copyTree(from, to, { epochSeconds: null });
    assert.deepEqual(
      listTree(to).filter((line) => !line.startsWith("d/kept")),
      // Who keeps no owners keeps no set-id bits.
      listTree(from).map((line) => (isMachineRoot ? line : line.replace("d/suid file 4", "d/suid file 0"))),
    );
    assert.equal(readFileSync(join(to, "d/kept"), "utf8"), "kept");
    assert.equal(statSync(join(to, "d")).mtimeMs, 1_000_000);
    assert.equal(statSync(join(to, "d/f")).ino, statSync(join(to, "d/hard")).ino);
  });

  it("does not write through links in the output directory", () => {
    const [from, to, outside] = [sample(), temp(), temp()];
    symlinkSync(outside, join(to, "d"));
    assert.throws(() => copyTree(from, to, { epochSeconds: null }), { code: "OUTPUT_FAILED" });
    const second = temp();
    writeFileSync(join(outside, "victim"), "untouched");
    symlinkSync(join(outside, "victim"), join(second, "link"));
    mkdirSync(join(second, "d"));
    symlinkSync(join(outside, "victim"), join(second, "d/f"));
    copyTree(from, second, { epochSeconds: null });
    assert.equal(readFileSync(join(outside, "victim"), "utf8"), "untouched");
    assert.deepEqual(listTree(outside), ["victim file 0644 0:0 untouched"]);
  });

  it("keeps neither owners nor set-id bits for a user without root", () => {
    const [from, to] = [sample(), temp()];
    const module = new URL("../../../cache/layers/export-tree.js", import.meta.url).href;
    const script = `import { copyTree } from ${JSON.stringify(module)};
      copyTree(${JSON.stringify(from)}, ${JSON.stringify(to)}, { epochSeconds: null });`;
    run("unshare", ["-rm", process.execPath, "--input-type=module", "-e", script]);
    assert.equal(statSync(join(to, "d/suid")).mode & 0o7777, 0o755);
    assert.equal(readFileSync(join(to, "d/f"), "utf8"), "text");
  });
});
