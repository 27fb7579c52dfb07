// Temporary directories (for stores, contexts, outputs) and detection of what is left of them.

import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Account } from "./unprivileged.ts";

export interface TemporaryDir extends Disposable {
  readonly path: string;
  /** Path of something in it. */
  at(...names: string[]): string;
}

/** A fresh directory, removed with all that is in it when disposed. `account`: whose it is; default: ours. */
export function temporaryDir(account: Account | null = null): TemporaryDir {
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
export function removeTree(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EACCES", "EPERM", "ENOTEMPTY", "ENAMETOOLONG"].includes(code)) throw error;
    withOwnIds(["rm", "-rf", path]); // which goes deeper than a path can say
  }
}

/** Runs a command on files of our subordinate ids: as root, or as root of a user namespace that holds them. */
export function withOwnIds(command: readonly string[]): void {
  const namespace = ["unshare", "--user", "--map-root-user"];
  const [file = "", ...args] =
    process.getuid?.() === 0 ? command : [...namespace, ...wholeRanges(), ...command];
  execFileSync(file, args, { stdio: "inherit" });
}

/** Options of unshare(1) for all subordinate ids: --map-auto leaves out the last one. */
function wholeRanges(): string[] {
  const { username } = userInfo();
  return (["users", "groups"] as const).map((kind) => {
    const lines = readFileSync(kind === "users" ? "/etc/subuid" : "/etc/subgid", "utf8").split("\n");
    const [, first, count] = lines.find((line) => line.startsWith(`${username}:`))?.split(":") ?? [];
    return `--map-${kind}=${first},1,${count}`;
  });
}

/** Processes that run, mounts that hold and mount namespaces that know something below `dir`. Those that are just ending get
 *  a moment; returns a line for each that stays. */
export async function residentsOf(dir: string): Promise<string[]> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .flatMap((pid) => (belongsTo(pid, dir) ? [`process ${pid} ${commandOf(pid)}`] : []));
    if (mentions("/proc/self/mountinfo", dir)) found.push(`a mount below ${dir}`);
    if (found.length === 0 || Date.now() > deadline) return found;
    await delay(20);
  }
}

/** Is a process with `marker` as a word of its command line alive? */
export function isRunning(marker: string): boolean {
  return processesWith(marker).some((pid) => commandOf(pid).split(" ").includes(marker));
}

/** Ids of processes with this text in their command line. */
export function processesWith(text: string): readonly string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && commandOf(name).includes(text));
}

/** Is it still there after a while? What runs inside a step ends a moment after all that `residentsOf` can see. */
export async function staysRunning(marker: string): Promise<boolean> {
  const deadline = Date.now() + 20_000;
  while (isRunning(marker)) {
    if (Date.now() > deadline) return true;
    await delay(20);
  }
  return false;
}

function belongsTo(pid: string, dir: string): boolean {
  return (
    commandOf(pid).includes(`${dir}/`) ||
    linkOf(`/proc/${pid}/exe`).startsWith(`${dir}/`) ||
    linkOf(`/proc/${pid}/cwd`).startsWith(`${dir}/`) ||
    mentions(`/proc/${pid}/mountinfo`, dir) ||
    openFilesOf(pid).some((file) => file.startsWith(`${dir}/`))
  );
}

/** What the descriptors of a process stand for; none when it is gone. */
export function openFilesOf(pid: string | number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  } catch {
    return []; // gone, or another user's
  }
}

function commandOf(pid: string): string {
  return readGone(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
}

function mentions(file: string, dir: string): boolean {
  return readGone(file).includes(`${dir}/`);
}

/** A file of /proc; "" when its process is gone or not ours to look at. */
function readGone(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // gone between readdir and here, or another user's: both are none of ours
  }
}

function linkOf(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return ""; // as above
  }
}
