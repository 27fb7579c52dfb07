// One writer of a layout's index at a time, among all processes of this machine.

import { setTimeout as delay } from "node:timers/promises";
import { BuildError } from "../../solver/graph/error.ts";

const POLL_MS = 10;
/** A writer takes milliseconds. Whoever may read a directory can lock it, for as long as he likes. */
const WAIT_MAX_MS = 30_000;
/** Of file systems without locks: open(2) of a directory of NFS is for reading, and its locks are for writers (flock(2), "NFS details"). */
const NO_LOCKS: readonly string[] = ["EBADF", "ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL"];

/** Does `work` while no other process does its own on the same directory (a descriptor). The kernel gives the lock back when a process
 *  dies, and nothing is left in the directory. Throws OUTPUT_FAILED when it is not to be had. */
export async function whileLocked<T>(
  directory: number,
  shown: string,
  work: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const [{ flock }, { isSysError }, { LOCK }] = await Promise.all([
    import("../../worker/sys/file.ts"),
    import("../../worker/sys/libc.ts"),
    import("../../worker/sys/constants.ts"),
  ]);
  const untilMs = performance.now() + WAIT_MAX_MS;
  try {
    while (!flock(directory, LOCK.EX | LOCK.NB)) {
      if (performance.now() > untilMs)
        throw new BuildError("OUTPUT_FAILED", `${shown}: another process has locked it`, {
          hint: "try again when it has ended: 'lslocks' shows who holds a lock",
        });
      await delay(POLL_MS, undefined, { signal });
    }
  } catch (error) {
    if (!isSysError(error, ...NO_LOCKS)) throw error;
    return await work();
  }
  try {
    return await work();
  } finally {
    flock(directory, LOCK.UN);
  }
}
