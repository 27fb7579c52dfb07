// Which ids the keeper's user namespace has, and how they are set.
// user_namespaces(7), subuid(5), newuidmap(1).

import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";

export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** root: root of this machine or container, ids as they are. subids: own id is 0 inside, the rest from /etc/subuid. single: only the own id. */
export type IdMaps =
  | { readonly kind: "root"; readonly uids: readonly IdRange[]; readonly gids: readonly IdRange[] }
  | { readonly kind: "subids"; readonly uids: readonly IdRange[]; readonly gids: readonly IdRange[] }
  | {
      readonly kind: "single";
      readonly uids: readonly IdRange[];
      readonly gids: readonly IdRange[];
      readonly why: string; // what is missing, with the fix
    };

const ALL_IDS = 4_294_967_295;
/** Only against waiting forever, on a machine that does many things at once. */
const HELPER_TIMEOUT_MS = 60_000;

/** Finds the maps for this user. Reads /etc/subuid and /etc/subgid; looks for newuidmap in `path`. */
export function findIdMaps(user: { uid: number; gid: number; name: string }, path: string): IdMaps {
  const single = (why: string): IdMaps => ({
    kind: "single",
    uids: [{ inside: 0, outside: user.uid, count: 1 }],
    gids: [{ inside: 0, outside: user.gid, count: 1 }],
    why,
  });
  if (user.uid === 0) {
    // Every id this namespace has itself: a container may have fewer than all.
    const uids = ownRanges("/proc/self/uid_map");
    const gids = ownRanges("/proc/self/gid_map");
    if (isOne(uids) || isOne(gids) || groupsAreRefused()) {
      return single(
        "this user namespace maps only one id: create it with a range of ids, as unshare --map-auto does",
      );
    }
    return { kind: "root", uids, gids };
  }
  const uids = subordinate("/etc/subuid", user);
  const gids = subordinate("/etc/subgid", user);
  if (uids.length === 0 || gids.length === 0) {
    return single(
      `${user.name} has no ids in /etc/subuid and /etc/subgid: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user.name}`,
    );
  }
  for (const helper of ["newuidmap", "newgidmap"]) {
    if (findProgram(helper, path) === null)
      return single(`${helper} is not installed: apt-get install uidmap`);
  }
  return { kind: "subids", uids: stacked(user.uid, uids), gids: stacked(user.gid, gids) };
}

function ownRanges(file: string): IdRange[] {
  const ranges: IdRange[] = [];
  for (const line of readFileSync(file, "latin1").trim().split("\n")) {
    const [inside, , count] = line.trim().split(/\s+/).map(Number);
    if (inside !== undefined && count !== undefined) ranges.push({ inside, outside: inside, count });
  }
  return ranges.length > 0 ? ranges : [{ inside: 0, outside: 0, count: ALL_IDS }];
}

function isOne(ranges: readonly IdRange[]): boolean {
  return ranges.length === 1 && ranges[0]?.count === 1;
}

/** Whether setgroups(2) is off in this user namespace, and with it in all below (user_namespaces(7)). */
function groupsAreRefused(): boolean {
  return readFileSync("/proc/self/setgroups", "latin1").trim() === "deny";
}

function subordinate(file: string, user: { uid: number; name: string }): { start: number; count: number }[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const ranges: { start: number; count: number }[] = [];
  for (const line of text.split("\n")) {
    const [owner, start, count] = line.trim().split(":");
    if ((owner === user.name || owner === String(user.uid)) && start !== undefined && count !== undefined) {
      if (/^\d+$/.test(start) && /^\d+$/.test(count) && Number(count) > 0) {
        ranges.push({ start: Number(start), count: Number(count) });
      }
    }
  }
  return ranges;
}

function stacked(own: number, ranges: readonly { start: number; count: number }[]): IdRange[] {
  const maps: IdRange[] = [{ inside: 0, outside: own, count: 1 }];
  let inside = 1;
  for (const { start, count } of ranges) {
    maps.push({ inside, outside: start, count });
    inside += count;
  }
  return maps;
}

/** Absolute path of a program in `path`, or null. */
export function findProgram(name: string, path: string): string | null {
  for (const dir of path.split(delimiter)) {
    if (dir === "") continue;
    const file = join(dir, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this directory, or not for us: the next one may have it.
    }
  }
  return null;
}

/** Writes the maps for `pid`, which waits in a new user namespace. Throws SANDBOX_UNAVAILABLE with the helper's words. */
export async function writeIdMaps(pid: number, maps: IdMaps, path: string): Promise<void> {
  if (maps.kind === "subids") {
    await Promise.all([
      runHelper("newuidmap", pid, maps.uids, path),
      runHelper("newgidmap", pid, maps.gids, path),
    ]);
    return;
  }
  const text = (ranges: readonly IdRange[]): string =>
    ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join("");
  try {
    // Without CAP_SETGID in the parent namespace the kernel wants setgroups refused first (user_namespaces(7)).
    if (maps.kind === "single") writeFileSync(`/proc/${pid}/setgroups`, "deny");
    writeFileSync(`/proc/${pid}/uid_map`, text(maps.uids));
    writeFileSync(`/proc/${pid}/gid_map`, text(maps.gids));
  } catch (error) {
    throw new BuildError("SANDBOX_UNAVAILABLE", "the kernel rejected the id map of a user namespace", {
      cause: error,
    });
  }
}

function runHelper(
  name: "newuidmap" | "newgidmap",
  pid: number,
  ranges: readonly IdRange[],
  path: string,
): Promise<void> {
  const file = findProgram(name, path);
  if (file === null)
    throw new BuildError("SANDBOX_UNAVAILABLE", `${name} is not installed`, {
      hint: "apt-get install uidmap",
    });
  const args = [String(pid)];
  for (const { inside, outside, count } of ranges) args.push(String(inside), String(outside), String(count));
  const { execFile } = process.getBuiltinModule("node:child_process"); // loaded when there is something to start
  return new Promise((resolve, reject) => {
    execFile(file, args, { timeout: HELPER_TIMEOUT_MS }, (error, _stdout, stderr) => {
      if (error === null) resolve();
      else {
        reject(
          new BuildError("SANDBOX_UNAVAILABLE", `${name} failed: ${stderr.trim() || error.message}`, {
            cause: error,
            hint: `check that ${name} is setuid root (or has file capabilities) and that /etc/subuid and /etc/subgid have entries for you`,
          }),
        );
      }
    });
  });
}
