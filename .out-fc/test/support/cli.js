// The command as a user calls it: a process of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { programDir, self } from "./unprivileged.js";
/** Starts `tsbuild ARGS`. */
export function startTsbuild(args, options) {
    const account = options.account ?? self();
    const program = join(programDir(account), "dist", "bin", "tsbuild.js");
    const foreign = account.uid !== process.getuid?.();
    const child = spawn(process.execPath, [program, ...args], {
        cwd: options.cwd ?? "/",
        stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
        env: {
            PATH: process.env.PATH,
            TMPDIR: process.env.TMPDIR,
            HOME: options.root, // nothing of the real user's configuration plays a part
            TSBUILD_ROOT: options.root,
            ...options.env,
        },
        ...(foreign ? { uid: account.uid, gid: account.gid } : {}),
    });
    if (options.input !== undefined)
        child.stdin.end(options.input);
    const output = { stdout: "", stderr: "" };
    const listeners = new Set();
    for (const name of ["stdout", "stderr"]) {
        child[name].setEncoding("utf8");
        child[name].on("data", (text) => {
            output[name] += text;
            for (const listener of listeners)
                listener();
        });
    }
    const outcome = once(child, "close").then(([code, signal]) => ({ code, signal, ...output }));
    return {
        pid: child.pid ?? 0,
        outcome,
        kill: (signal) => void child.kill(signal),
        async says(pattern) {
            return new Promise((resolve, reject) => {
                const look = () => {
                    const all = output.stdout + output.stderr;
                    if (!pattern.test(all))
                        return;
                    listeners.delete(look);
                    resolve(all);
                };
                listeners.add(look);
                look();
                outcome.then(() => reject(new Error(`ended without saying ${pattern}:\n${output.stdout}${output.stderr}`)), reject);
            });
        },
    };
}
/** Runs `tsbuild ARGS` to its end. */
export function tsbuild(args, options) {
    return startTsbuild(args, options).outcome;
}
/** As tsbuild(); throws with the command's words when it fails. */
export async function tsbuildOk(args, options) {
    const outcome = await tsbuild(args, options);
    if (outcome.code !== 0) {
        const why = outcome.signal ?? `exit code ${outcome.code}`;
        throw new Error(`tsbuild ${args.join(" ")}: ${why}\n${outcome.stdout}${outcome.stderr}`);
    }
    return outcome;
}
//# sourceMappingURL=cli.js.map