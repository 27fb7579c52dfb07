// The ids of this process: those its user namespace maps, from /proc of user_namespaces(7). They are constant for the process.

import { readFileSync } from "node:fs";

/** Every id but this one, which tells chown(2) to leave the owner unchanged. */
export const NO_ID = 0xffff_ffff;

/** What the kernel takes. */
interface Ids {
  readonly count: number;
  /** Whom files are given to whose owner the kernel cannot take: the last id there is. No step becomes it (sandbox/step.ts), for
   *  whoever owns such a file decides by a note whose it is in the image (owner.ts). */
  readonly standIn: number;
  takes(id: number): boolean;
}

function idsOf(map: string): Ids {
  const ranges = readFileSync(map, "latin1")
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([first = 0, , count = 0]) => ({ first, end: first + count }));
  return {
    count: ranges.reduce((sum, { first, end }) => sum + end - first, 0),
    standIn: Math.max(0, ...ranges.map(({ end }) => end - 1)),
    takes: (id) => ranges.some(({ first, end }) => id >= first && id < end),
  };
}
export const UIDS: Ids = idsOf("/proc/self/uid_map");
export const GIDS: Ids = idsOf("/proc/self/gid_map");

/** What this process may do with ids: "host" (no user namespace), "mapped" (several ids) or "single" (only its own). */
export function idMapKind(): "host" | "mapped" | "single" {
  if (UIDS.count === NO_ID) return "host";
  return UIDS.count > 1 ? "mapped" : "single";
}
