// Loaded before every test file. All temporary files of a run are in one directory, so that leftovers can be
// detected: a process, a mount or a file is a failure.

import { chmodSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { removeTree, residentsOf } from "./store.ts";
import { PROGRAM_COPY } from "./unprivileged.ts";

const own = mkdtempSync(join(tmpdir(), "tsbuild-test-"));
chmodSync(own, 0o711); // other accounts may pass through to what is theirs
process.env.TMPDIR = own; // os.tmpdir() from here on, in child processes too
process.on("exit", () => removeTree(own)); // also after a failed run

export const mochaHooks = {
  async afterAll(): Promise<void> {
    const files = readdirSync(own).filter((name) => name !== PROGRAM_COPY);
    const problems = [...(await residentsOf(own)), ...files.map((name) => `file ${join(own, name)}`)];
    if (problems.length > 0) throw new Error(`left behind by the tests:\n${problems.join("\n")}`);
  },
};
