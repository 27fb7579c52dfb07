// Accounts to build as. Root's run of the tests covers both root and an ordinary user; an ordinary user's run covers that user.

import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, statSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { projectDir } from "./project.ts";

/** Where in the run's temporary directory the copy of the program is that other accounts can read. */
export const PROGRAM_COPY = ".program";

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** The account of this process. */
export function self(): Account {
  const { username, uid, gid } = userInfo();
  return { name: username, uid, gid };
}

/** An account without privileges and with subordinate ids: this one, or for root the one test/setup.sh has made. */
export function ordinaryUser(): Account {
  if (process.getuid?.() !== 0) return self();
  const name = process.env.TSBUILD_TEST_USER ?? "tsbuild-test";
  let entry: string;
  try {
    entry = execFileSync("getent", ["passwd", name], { encoding: "utf8" });
  } catch (cause) {
    throw new Error(`there is no user ${name}: run test/setup.sh as root`, { cause });
  }
  const [, , uid, gid] = entry.split(":");
  return { name, uid: Number(uid), gid: Number(gid) };
}

/** The accounts whole builds are tried as, where it may matter who does it. What is about words, formats and registries is tried as the
 *  ordinary user alone, who has less. */
export function accounts(): readonly Account[] {
  return process.getuid?.() === 0 ? [self(), ordinaryUser()] : [self()];
}

/** Directory of the built program as `account` may read it: the checkout, or a copy where that lies behind closed doors. */
export function programDir(account: Account): string {
  if (account.uid === process.getuid?.() || isOpen(projectDir)) return projectDir;
  const copy = join(tmpdir(), PROGRAM_COPY);
  if (existsSync(copy)) return copy;
  mkdirSync(join(copy, "node_modules"), { recursive: true });
  for (const name of ["package.json", "dist", "examples"]) {
    cpSync(join(projectDir, name), join(copy, name), { recursive: true });
  }
  const listed = execFileSync("npm", ["ls", "--all", "--omit=dev", "--parseable"], {
    cwd: projectDir,
    encoding: "utf8",
  });
  for (const path of listed.split("\n")) {
    if (path.includes("/node_modules/"))
      cpSync(path, join(copy, path.slice(projectDir.length)), { recursive: true });
  }
  for (const dir of [copy, join(copy, "node_modules")]) chmodSync(dir, 0o755);
  return copy;
}

function isOpen(dir: string): boolean {
  for (let at = dir; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}
