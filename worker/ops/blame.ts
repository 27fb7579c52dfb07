// Did a step fail because this user has one id only? Seen from what the failing programs say.

import type { IdMaps } from "../keeper/userns.ts";

/** Reads a step's output as it comes by. */
export interface Blame {
  read(data: Uint8Array): void;
  /** The cause and what to install, or null when nothing pointed at it. */
  hint(): string | null;
}

/** A program that wanted another id says so beside the error the kernel gives for ids a namespace does not hold:
 *  EINVAL, and EPERM for setgroups(2), which is off with a single id (user_namespaces(7)). */
const ID_REFUSED =
  /(?:ch(?:own|grp)|owner|ownership|set(?:res|re|e|fs)?[ug]id|setgroups|initgroups|uid|gid|\bgroup)[^\n]{0,200}(?:Invalid argument|Operation not permitted|EINVAL|EPERM)|(?:Invalid argument|Operation not permitted)[^\n]{0,80}(?:set(?:res|re|e)?[ug]id|setgroups|chown)/i;
/** Kept of what was read before, so that a line cut by chunks is seen whole. */
const CARRY = 400;

/** A reader for steps of a user with one id; null: this user has more. */
export function openBlame(ids: IdMaps): Blame | null {
  if (ids.kind !== "single") return null;
  let carry = "";
  let seen = false;
  return {
    read(data) {
      if (seen) return;
      const text = carry + Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1");
      seen = ID_REFUSED.test(text);
      carry = text.slice(-CARRY);
    },
    hint: () => (seen ? `the step needs more ids than the one this user has: ${ids.why}` : null),
  };
}
