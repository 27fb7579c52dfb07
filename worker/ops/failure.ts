// [keeper] Failed system calls as errors of the user.

import { getSystemErrorMap } from "node:util";
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
  if (error instanceof BuildError) return error;
  const { errnum, path } = failureOf(error);
  if (errnum === null) return error;
  const [name, text] = getSystemErrorMap().get(-errnum) ?? [`E${errnum}`, ""];
  const isFull = name === "ENOSPC" || name === "EDQUOT";
  const where = path === "" ? "" : `${JSON.stringify(path)}: `;
  return new BuildError(isFull ? "STORE_FULL" : "COPY_FAILED", `${doing}: ${where}${text || name}`, {
    cause: error,
    hint: isFull
      ? "free some space on the disk of the store, with `tsbuild prune` for example, and build again"
      : null,
  });
}

/** errno and path of our own and of Node's failed calls. */
function failureOf(error: unknown): { errnum: number | null; path: string } {
  if (error instanceof SysError) return { errnum: error.errnum, path: error.path };
  const { errno, path } = (error ?? {}) as NodeJS.ErrnoException;
  return { errnum: typeof errno === "number" ? -errno : null, path: path ?? "" };
}
