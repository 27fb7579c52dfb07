// The README's first command, without its `npm ci`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { temporaryDir } from "../support/store.ts";
import { accounts, programDir } from "../support/unprivileged.ts";

for (const account of accounts()) {
  it(`the example builds and runs as ${account.name}, without any registry`, function () {
    this.timeout(120_000);
    using dir = temporaryDir(account);
    const foreign = account.uid !== process.getuid?.();
    const output = execFileSync(join(programDir(account), "examples", "hello.sh"), {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH, HOME: dir.path, TMPDIR: dir.path, TSBUILD_ROOT: dir.at("store") },
      ...(foreign ? { uid: account.uid, gid: account.gid } : {}),
    });
    assert.match(output, /^Hello, world!$/m);
    assert.match(output, /^Welcome, Ada and Grace!$/m);
    assert.match(output, /^hello +latest/m);
  });
}
