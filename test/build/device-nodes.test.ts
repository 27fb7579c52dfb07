// Root file systems packed by debootstrap and others contain device nodes. Those cannot be created in a user namespace, not even
// by real root.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeTar } from "../cache/layers/support.ts";
import { accounts } from "../support/unprivileged.ts";
import { openWorkshop } from "./fixture.ts";

for (const account of accounts()) {
  it(`device nodes of an archive are left out with a note for ${account.name}`, async () => {
    using shop = await openWorkshop(account);
    const context = shop.context("context", {
      Dockerfile: 'FROM base\nADD rootfs.tar /new\nCMD ["sh", "-c", "cat /new/file; ls -A /new/dev"]\n',
    });
    const members = [
      { name: "dev/", type: "dir", mode: 0o755 },
      { name: "dev/console", type: "char", devMajor: 5, devMinor: 1 },
      { name: "dev/loop0", type: "block", devMajor: 7, devMinor: 0 },
      { name: "file", content: "kept\n" },
    ] as const;
    writeFileSync(join(context, "rootfs.tar"), makeTar(members));
    const { stderr } = await shop.ok(["build", "--verbose", "-t", "new", context]);
    assert.match(stderr, /"dev\/console" is a device node, which cannot be created without root: skipped/);
    assert.equal((await shop.ok(["run", "new"])).stdout, "kept\n");
  });
}
