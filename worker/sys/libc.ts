// Loads libc once, and converts its failures to errors. Only worker/sys imports koffi.
//
// Calls newer than the oldest supported C library (openat2, statx, fsopen and so on) use syscall(2) by number;
// from openat2 on numbers are the same on all architectures.

import { constants } from "node:os";
import koffi from "koffi";

/** A failed system call. `errno` is the symbolic name ("ENOENT"), `errnum` its number, `path` what it was about. */
export class SysError extends Error {
  override readonly name = "SysError";
  readonly call: string;
  readonly errno: string;
  readonly errnum: number;
  readonly path: string;
  constructor(call: string, errnum: number, path: string) {
    const errno = ERRNO_NAMES.get(errnum) ?? `E${errnum}`;
    super(path === "" ? `${call}: ${errno}` : `${call} ${JSON.stringify(path)}: ${errno}`);
    this.call = call;
    this.errno = errno;
    this.errnum = errnum;
    this.path = path;
  }
}

/** Is this a failed call with one of these errno names? */
export function isSysError(error: unknown, ...errnos: readonly string[]): error is SysError {
  return error instanceof SysError && (errnos.length === 0 || errnos.includes(error.errno));
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  // EWOULDBLOCK and ENOTSUP share a number with EAGAIN and EOPNOTSUPP: the first name given to a number stays.
  Object.entries(constants.errno)
    .filter(([name]) => name !== "EWOULDBLOCK" && name !== "ENOTSUP")
    .map(([name, number]) => [number, name]),
);

/** Number of an errno name, for callers that make a SysError of their own. */
export function errnumOf(name: string): number {
  return (constants.errno as Record<string, number>)[name] ?? 0;
}

const libc = load();

/** Node is linked to a C library (glibc or musl), so its symbols are found in the program itself. */
function load(): ReturnType<typeof koffi.load> {
  try {
    const own = koffi.load(null);
    own.func("syscall", "int64", ["int64"]);
    return own;
  } catch (cause) {
    const musl = process.arch === "arm64" ? "libc.musl-aarch64.so.1" : "libc.musl-x86_64.so.1";
    for (const name of ["libc.so.6", musl]) {
      try {
        return koffi.load(name);
      } catch {
        // the next name; when none is there the first failure is told
      }
    }
    throw cause;
  }
}

/** A value for the kernel. A Buffer is passed by address. */
export type Arg = number | bigint | Uint8Array | null;
export type Call = (...args: Arg[]) => number;

/** A libc function. types: "int", "int64", "ptr" (Buffer or null). Variadic ones may be bound with fixed arguments:
 *  on x86-64 and arm64 Linux integer arguments travel the same way. */
export function bind(
  name: string,
  result: "int" | "int64",
  types: readonly ("int" | "int64" | "ptr")[],
): Call {
  return libc.func(
    name,
    result,
    types.map((type) => (type === "ptr" ? "void *" : type)),
  ) as unknown as Call;
}

/** Binds syscall(2) to one number. */
export function bindSyscall(number: number, types: readonly ("int" | "int64" | "ptr")[]): Call {
  const call = bind("syscall", "int64", ["int64", ...types]);
  return (...args) => call(number, ...args);
}

/** Numbers that differ between architectures, and the newer common ones. Linux unistd tables. */
export const NR: Readonly<Record<NewCall | CommonCall, number>> = {
  ...(process.arch === "arm64"
    ? { getdents64: 61, renameat2: 276, copyFileRange: 285, statx: 291 }
    : { getdents64: 217, renameat2: 316, copyFileRange: 326, statx: 332 }),
  openTree: 428,
  moveMount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  openat2: 437,
  mountSetattr: 442,
};
type NewCall = "getdents64" | "renameat2" | "copyFileRange" | "statx";
type CommonCall = "openTree" | "moveMount" | "fsopen" | "fsconfig" | "fsmount" | "openat2" | "mountSetattr";

/** Paths are bytes; a string is written as UTF-8. */
export type PathLike = string | Buffer;

/** PATH_MAX of limits.h, with the NUL; longer paths fail with ENAMETOOLONG as the kernel would do. */
const PATH_MAX = 4096;

/** A NUL-terminated copy of a path in a scratch buffer that the next use of the same slot overwrites. Calls are
 *  synchronous and threads have their own copy of this module, so two slots (old and new name) are enough. */
export function cpath(path: PathLike, slot: 0 | 1 = 0): Buffer {
  const scratch = SCRATCH[slot];
  const length =
    typeof path === "string" ? scratch.write(path, 0, PATH_MAX) : path.copy(scratch, 0, 0, PATH_MAX);
  if (length >= PATH_MAX) throw new SysError("path", constants.errno.ENAMETOOLONG, showPath(path));
  // The kernel would see a shorter name than we do.
  const nul = scratch.indexOf(0);
  if (nul >= 0 && nul < length) throw new SysError("path", constants.errno.EINVAL, showPath(path));
  scratch[length] = 0;
  return scratch;
}
const SCRATCH = [Buffer.alloc(PATH_MAX + 1), Buffer.alloc(PATH_MAX + 1)] as const;

/** NUL-terminated bytes of their own. */
export function cstring(text: PathLike): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw new SysError("string", constants.errno.EINVAL, showPath(text));
  return Buffer.concat([bytes, Buffer.of(0)]);
}

/** A path for a message. */
export function showPath(path: PathLike | null): string {
  return path === null ? "" : path.toString();
}

/** Result of a call, or SysError. errno is read at once: it is stale after a success and gone after the next call. */
export function check(call: string, result: number, path: PathLike | null = null): number {
  if (result >= 0) return result;
  throw new SysError(call, koffi.errno(), showPath(path));
}

/** errno of the call that just failed. */
export function errno(): number {
  return koffi.errno();
}

const cPrctl = bind("prctl", "int", ["int", "int64", "int64", "int64", "int64"]);
const cUmask = bind("umask", "int", ["int"]);

/** prctl(2); belongs to the calling thread for most options. */
export function prctl(option: number, arg2: number | bigint = 0, arg3: number | bigint = 0): number {
  return check("prctl", cPrctl(option, arg2, arg3, 0, 0));
}

/** umask(2) of the whole process; returns the former one. Node refuses process.umask() in worker threads, this does not. */
export function umask(mask: number): number {
  return cUmask(mask);
}
