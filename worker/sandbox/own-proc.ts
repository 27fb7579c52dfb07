// [keeper] Processes by the numbers that this process knows them by.

import { readSync } from "node:fs";
import { close, openat } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { fsconfigCreate, fsmount, fsopen } from "../sys/mount.ts";
import { pidfdOpen } from "../sys/process.ts";
import { O } from "../sys/constants.ts";

/** A /proc of this process's pid namespace: the one in sight is the front's. */
export function ownProc(): number {
  const context = fsopen("proc");
  try {
    fsconfigCreate(context);
    return fsmount(context);
  } finally {
    close(context);
  }
}

/** A pidfd of `pid`, for the caller to close; null: it is gone. A number may have been given to another process meanwhile, so it has to be a child of
 *  `parent`, which starts one only and has not been waited for. proc_pid_stat(5) */
export function childPidfd(pid: number, parent: number): number | null {
  const proc = ownProc();
  try {
    const pidfd = pidfdOpen(pid);
    if (parentOf(proc, pid) === parent) return pidfd;
    close(pidfd);
    return null;
  } catch (error) {
    if (isSysError(error, "ESRCH", "ENOENT")) return null;
    throw error;
  } finally {
    close(proc);
  }
}

function parentOf(proc: number, pid: number): number {
  const fd = openat(proc, `${pid}/stat`, O.RDONLY);
  try {
    const bytes = Buffer.alloc(1024);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes));
    // "pid (name) state ppid": the name may have parentheses and spaces.
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } finally {
    close(fd);
  }
}
