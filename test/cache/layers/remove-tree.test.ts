import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listTree } from "../../../cache/layers/listing.ts";
import { removeTree } from "../../../cache/layers/remove-tree.ts";
import { itAsMachineRoot } from "../../support/privileges.ts";
import { run, temporary } from "./support.ts";

describe("trees of the store", () => {
  const temp = temporary();

  it("are removed without following links", () => {
    const dir = temp();
    mkdirSync(join(dir, "outside"));
    writeFileSync(join(dir, "outside/victim"), "");
    mkdirSync(join(dir, "tree/sub"), { recursive: true });
    symlinkSync(join(dir, "outside"), join(dir, "tree/sub/link"));
    removeTree(join(dir, "tree"));
    removeTree(join(dir, "missing"));
    removeTree(join(dir, "no/such/parent"));
    assert.deepEqual(readdirSync(dir), ["outside"]);
    assert.deepEqual(readdirSync(join(dir, "outside")), ["victim"]);
    symlinkSync("outside", join(dir, "link"));
    removeTree(join(dir, "link"));
    assert.deepEqual(readdirSync(dir), ["outside"]);
  });

  it("are listed and removed at any depth", () => {
    const dir = temp();
    const script =
      "import os,sys\nos.chdir(sys.argv[1])\nfor i in range(3000):\n os.mkdir('d'); os.chdir('d')\nopen('f','w')";
    mkdirSync(join(dir, "tree"));
    run("python3", ["-c", script, join(dir, "tree")]);
    assert.equal(listTree(join(dir, "tree")).entries, 3001);
    removeTree(join(dir, "tree"));
    assert.equal(existsSync(join(dir, "tree")), false);
  });

  // Root becomes somebody else.
  itAsMachineRoot("are removed by an unprivileged user though directories forbid it", () => {
    const dir = temp();
    chmodSync(dir, 0o777);
    const module = new URL("../../../cache/layers/remove-tree.js", import.meta.url).href;
    const script = `import { removeTree } from ${JSON.stringify(module)};
      import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
      process.setgid(65534); process.setuid(65534); process.chdir(${JSON.stringify(dir)});
      mkdirSync("t/a/b", { recursive: true }); writeFileSync("t/a/b/f", "");
      chmodSync("t/a/b", 0o500); chmodSync("t/a", 0);
      removeTree(${JSON.stringify(join(dir, "t"))});`;
    run(process.execPath, ["--input-type=module", "-e", script]);
    assert.deepEqual(readdirSync(dir), []);
  });
});
