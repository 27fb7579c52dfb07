// Temporary directories (for stores, contexts, outputs) and what the machine still has of them.
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
/** A fresh directory, removed with all that is in it when disposed. `account`: whose it is; default: ours. */
export function temporaryDir(account = null) {
    const path = mkdtempSync(join(tmpdir(), "t-"));
    if (account !== null && account.uid !== process.getuid?.()) {
        chownSync(path, account.uid, account.gid);
        chmodSync(path, 0o700);
    }
    return {
        path,
        at: (...names) => join(path, ...names),
        [Symbol.dispose]: () => removeTree(path),
    };
}
/** rm -rf that also gets rid of files of our subordinate ids, which only a user namespace that holds them may delete. */
export function removeTree(path) {
    try {
        rmSync(path, { recursive: true, force: true });
    }
    catch (error) {
        if (!["EACCES", "EPERM", "ENOTEMPTY"].includes(error.code ?? ""))
            throw error;
        execFileSync("unshare", ["--user", "--map-root-user", "--map-auto", "rm", "-rf", path], { stdio: "inherit" });
    }
}
/** Processes that run, mounts that hold and mount namespaces that know something below `dir`. Those that are just ending get
 *  a moment; returns a line for each that stays. */
export async function residentsOf(dir) {
    const deadline = Date.now() + 3_000;
    for (;;) {
        const found = readdirSync("/proc")
            .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
            .flatMap((pid) => (belongsTo(pid, dir) ? [`process ${pid} ${commandOf(pid)}`] : []));
        if (mentions("/proc/self/mountinfo", dir))
            found.push(`a mount below ${dir}`);
        if (found.length === 0 || Date.now() > deadline)
            return found;
        await delay(20);
    }
}
/** Is a process with `marker` in its command line alive? */
export function isRunning(marker) {
    return readdirSync("/proc").some((name) => /^\d+$/.test(name) && commandOf(name).split(" ").includes(marker));
}
function belongsTo(pid, dir) {
    return (commandOf(pid).includes(`${dir}/`) ||
        linkOf(`/proc/${pid}/exe`).startsWith(`${dir}/`) ||
        linkOf(`/proc/${pid}/cwd`).startsWith(`${dir}/`) ||
        mentions(`/proc/${pid}/mountinfo`, dir));
}
function commandOf(pid) {
    return readGone(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
}
function mentions(file, dir) {
    return readGone(file).includes(`${dir}/`);
}
/** A file of /proc; "" when its process is gone or not ours to look at. */
function readGone(file) {
    try {
        return readFileSync(file, "utf8");
    }
    catch {
        return ""; // gone between readdir and here, or another user's: both are none of ours
    }
}
function linkOf(file) {
    try {
        return readlinkSync(file);
    }
    catch {
        return ""; // as above
    }
}
//# sourceMappingURL=store.js.map