// Error messages for a process ended by a signal, including whether the kernel killed it for lack of memory.

import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { findPlace } from "./cgroup-place.ts";

/** "SIGKILL" for 9. */
export function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}

/** How a process ended, and what to do about it. */
export function signalWords(
  name: string,
  wasOutOfMemory: boolean,
): { readonly text: string; readonly hint: string | null } {
  if (name !== "SIGKILL") return { text: `killed by ${name}`, hint: null };
  return wasOutOfMemory
    ? {
        text: "killed by SIGKILL: out of memory",
        hint: "give the machine or the container more memory, or run fewer steps in parallel",
      }
    : {
        text: "killed by SIGKILL",
        hint: "usually the kernel's out-of-memory killer (see dmesg) or a manual kill -9",
      };
}

/** Starts looking; the function tells whether the kernel has ended a process of this cgroup for want of memory since then, or of
 *  this machine where cgroups do not say (memory.events: cgroup-v2.rst; oom_kill of /proc/vmstat: since Linux 4.13). */
export function watchForOutOfMemory(): () => boolean {
  const before = outOfMemoryKills();
  return () => outOfMemoryKills() > before;
}

function outOfMemoryKills(): number {
  try {
    const place = findPlace();
    const own = place === null ? null : countIn(join(place.own, "memory.events"));
    return own ?? countIn("/proc/vmstat") ?? 0;
  } catch {
    return 0; // no /proc: nothing is known, and nothing depends on it but a word
  }
}

function countIn(file: string): number | null {
  try {
    const count = /^oom_kill (\d+)$/m.exec(readFileSync(file, "latin1"))?.[1];
    return count === undefined ? null : Number(count);
  } catch {
    return null; // the root cgroup has no such file, nor has one without the memory controller
  }
}
