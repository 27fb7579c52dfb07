import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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

  it("are listed and removed at any depth, in memory that does not grow with its square", function () {
    this.timeout(300_000);
    const dir = temp();
    const script =
      "import os,sys\nos.chdir(sys.argv[1])\nfor i in range(4000):\n os.mkdir('d'*250); os.chdir('d'*250)\nopen('f','w')";
    mkdirSync(join(dir, "tree"));
    run("python3", ["-c", script, join(dir, "tree")]);
    const at = (name: string): string =>
      JSON.stringify(new URL(`../../../cache/layers/${name}.js`, import.meta.url).href);
    // A path for each of the directories would be 2 GB.
    const measured = run(process.execPath, [
      "--input-type=module",
      "-e",
      `import { listTree } from ${at("listing")}; import { removeTree } from ${at("remove-tree")};
      import { readFileSync } from "node:fs";
      const { entries } = listTree(process.argv[1]);
      removeTree(process.argv[1]);
      console.log(entries, /VmHWM:\\s*(\\d+)/.exec(readFileSync("/proc/self/status", "latin1"))[1]);`,
      join(dir, "tree"),
    ])
      .toString()
      .split(" ");
    assert.equal(Number(measured[0]), 4_001);
    assert.ok(Number(measured[1]) < 250_000, `${measured[1]} KiB at most`);
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
