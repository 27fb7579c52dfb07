// Finds out whether a step failed because of a limit of the machine or of the step, from the messages of its programs.

import type { IdMaps } from "../keeper/userns.ts";

/** Reads a step's output as it comes by. */
export interface Blame {
  read(data: Uint8Array): void;
  /** The cause and what to do, or null when nothing pointed at one. */
  hint(): string | null;
}

/** A program that wanted another id says so beside the error the kernel gives for ids a namespace does not hold:
 *  EINVAL, and EPERM for setgroups(2), which is off with a single id (user_namespaces(7)). */
const ID_REFUSED =
  /(?:ch(?:own|grp)|owner|ownership|set(?:res|re|e|fs)?[ug]id|setgroups|initgroups|uid|gid|\bgroup)[^\n]{0,200}(?:Invalid argument|Operation not permitted|EINVAL|EPERM)|(?:Invalid argument|Operation not permitted)[^\n]{0,80}(?:set(?:res|re|e)?[ug]id|setgroups|chown)/i;
/** EAGAIN of fork(2) and clone(2), as shells, libraries and runtimes put it. */
const PROCESS_REFUSED =
  /(?:fork|clone|thread|process|spawn)[^\n]{0,200}(?:Resource temporarily unavailable|EAGAIN|errno=11)|(?:can'?t|cannot|unable to|failed to) (?:fork|(?:create|start)[^\n]{0,40}thread)/i;
/** Kept of what was read before, so that a line cut by chunks is seen whole. */
const CARRY = 400;
/** A step that runs out of processes ends soon after; what it says last is examined, and only once it has failed. */
const LAST_BYTES = 4096;

/** A reader for one step. `processes`: how many it may have; null: any number. */
export function openBlame(ids: IdMaps, processes: number | null): Blame {
  let carry = "";
  let idRefused = false;
  let last: readonly Uint8Array[] = [];
  return {
    read(data) {
      last = data.length >= LAST_BYTES ? [data] : [...last.slice(-31), data];
      if (ids.kind !== "single" || idRefused) return;
      const text = carry + latin1(data);
      idRefused = ID_REFUSED.test(text);
      carry = text.slice(-CARRY);
    },
    hint() {
      if (ids.kind === "single" && idRefused)
        return `the step needs more user and group ids than this user has: ${ids.why}`;
      if (processes === null || !PROCESS_REFUSED.test(last.map(latin1).join("").slice(-LAST_BYTES)))
        return null;
      return `a step may have ${processes} processes and threads; --pids-limit=N allows more, --pids-limit=-1 any number`;
    },
  };
}

function latin1(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1");
}
