// A store directory for a test, and other processes that use it.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
/** A fresh directory before each test of the enclosing suite, removed after it. */
export function freshDirectory() {
    let dir = "";
    beforeEach(() => {
        dir = mkdtempSync(join(tmpdir(), "tsbuild-cache-"));
    });
    afterEach(() => {
        rmSync(dir, { recursive: true, force: true });
    });
    return () => dir;
}
/** Runs a module body in another Node process. It has `openStore` and the rest of cache/store.ts, `dir`, and `say(text)`. */
export function child(dir, body) {
    const url = (name) => JSON.stringify(new URL(`../../cache/${name}.js`, import.meta.url).href);
    const code = `
    import { openStore } from ${url("store")};
    import fs from "node:fs";
    const dir = ${JSON.stringify(dir)};
    const signal = new AbortController().signal;
    const say = (text) => fs.writeSync(1, text + "\\n");
    ${body}`;
    const started = spawn(process.execPath, ["--input-type=module", "-e", code], {
        stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = new Promise((resolve) => {
        started.once("close", (status, signal) => resolve(signal ?? status ?? -1));
    });
    const lines = createInterface({ input: started.stdout })[Symbol.asyncIterator]();
    return {
        process: started,
        ended,
        async line() {
            const next = await lines.next();
            if (next.done === true)
                throw new Error("the process ended without a line");
            return next.value;
        },
    };
}
/** A signal that never aborts. */
export function never() {
    return new AbortController().signal;
}
//# sourceMappingURL=store-support.js.map