// [keeper] Converts failed system calls to user errors.

import { getSystemErrorMap } from "node:util";
import { DiskRefused } from "../../cache/disk-fault.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { SysError } from "../sys/libc.ts";

/** Failed system calls as sentences of the user; everything else passes. */
export function inWords<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw explain(doing, error);
  }
}

/** inWords for work that waits. */
export async function inWordsAsync<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explain(doing, error);
  }
}

function explain(doing: string, error: unknown): unknown {
  if (error instanceof BuildError || error instanceof DiskRefused) return error;
  const { errnum, path } = failureOf(error);
  if (errnum === null) return error;
  const [name, text] = getSystemErrorMap().get(-errnum) ?? [`E${errnum}`, ""];
  const refused = refusedBy(error, doing);
  if (refused !== null) return refused;
  const where = path === "" ? "" : `${JSON.stringify(path)}: `;
  return new BuildError("COPY_FAILED", `${doing}: ${where}${text || name}`, { cause: error });
}

/** A disk that takes no more, whose place and name the front knows (keeper.ts); null: something else. `doing`: "" is not known. */
export function refusedBy(error: unknown, doing: string): DiskRefused | null {
  if (error instanceof DiskRefused) return error;
  const { errnum, path } = failureOf(error);
  const [name = ""] = errnum === null ? [] : (getSystemErrorMap().get(-errnum) ?? []);
  if (!DISK_ERRNOS.has(name) || (error instanceof SysError && LIMITED_CALLS.has(error.call))) return null;
  return new DiskRefused(name, doing === "" && !path.startsWith("/") ? path : doing, error);
}

/** EROFS is of the disk for outputs only: in steps it is of their mounts. */
const DISK_ERRNOS: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);
/** Where ENOSPC is a limit of the kernel, as fs.mount-max or user.max_mnt_namespaces: mount(2), unshare(2). */
const LIMITED_CALLS: ReadonlySet<string> = new Set([
  ...["mount", "move_mount", "open_tree", "fsmount", "mount_setattr"],
  ...["unshare", "clone", "setns"],
]);

/** errno and path of our own and of Node's failed calls. */
function failureOf(error: unknown): { errnum: number | null; path: string } {
  if (error instanceof SysError) return { errnum: error.errnum, path: error.path };
  const { errno, path } = (error ?? {}) as NodeJS.ErrnoException;
  return { errnum: typeof errno === "number" ? -errno : null, path: path ?? "" };
}
