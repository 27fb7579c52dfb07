// Power cuts during builds, simulated on a loop-mounted ext4. The script of the same name runs any number of them.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

// Mounting a file system and shutting it down is for real root only; an ordinary user's run has nothing to try here.
if (process.getuid?.() === 0) {
  describe("a store on a disk whose power is cut during builds", () => {
    it("opens, and the next build gives what a clean one gives (3 cuts)", async function () {
      this.timeout(600_000);
      const script = fileURLToPath(new URL("power-cut.js", import.meta.url));
      // In a mount namespace of its own: another build's that began meanwhile would hold on to the disk.
      const { stdout } = await promisify(execFile)("unshare", ["--mount", process.execPath, script, "3"]);
      assert.match(stdout, /^3 power cuts, /m);
    });
  });
}
