/** A failed system call. `errno` is the symbolic name ("ENOENT"), `errnum` its number, `path` what it was about. */
export declare class SysError extends Error {
    readonly name = "SysError";
    readonly call: string;
    readonly errno: string;
    readonly errnum: number;
    readonly path: string;
    constructor(call: string, errnum: number, path: string);
}
/** Is this a failed call with one of these errno names? */
export declare function isSysError(error: unknown, ...errnos: readonly string[]): error is SysError;
/** Number of an errno name, for callers that make a SysError of their own. */
export declare function errnumOf(name: string): number;
/** A value for the kernel. A Buffer is passed by address. */
export type Arg = number | bigint | Uint8Array | null;
export type Call = (...args: Arg[]) => number;
/** A libc function. types: "int", "int64", "ptr" (Buffer or null). Variadic ones may be bound with fixed arguments:
 *  on x86-64 and arm64 Linux integer arguments travel the same way. */
export declare function bind(name: string, result: "int" | "int64", types: readonly ("int" | "int64" | "ptr")[]): Call;
/** Binds syscall(2) to one number. */
export declare function bindSyscall(number: number, types: readonly ("int" | "int64" | "ptr")[]): Call;
/** Numbers that differ between architectures, and the newer common ones. Linux unistd tables. */
export declare const NR: Readonly<Record<NewCall | CommonCall, number>>;
type NewCall = "getdents64" | "renameat2" | "copyFileRange" | "statx";
type CommonCall = "openTree" | "moveMount" | "fsopen" | "fsconfig" | "fsmount" | "openat2" | "mountSetattr";
/** Paths are bytes; a string is written as UTF-8. */
export type PathLike = string | Buffer;
/** A NUL-terminated copy of a path in a scratch buffer that the next use of the same slot overwrites. Calls are
 *  synchronous and threads have their own copy of this module, so two slots (old and new name) are enough. */
export declare function cpath(path: PathLike, slot?: 0 | 1): Buffer;
/** NUL-terminated bytes of their own. */
export declare function cstring(text: PathLike): Buffer;
/** A path for a message. */
export declare function showPath(path: PathLike | null): string;
/** Result of a call, or SysError. errno is read at once: it is stale after a success and gone after the next call. */
export declare function check(call: string, result: number, path?: PathLike | null): number;
/** errno of the call that just failed. */
export declare function errno(): number;
/** prctl(2); belongs to the calling thread for most options. */
export declare function prctl(option: number, arg2?: number | bigint, arg3?: number | bigint): number;
/** umask(2) of the whole process; returns the former one. Node refuses process.umask() in worker threads, this does not. */
export declare function umask(mask: number): number;
export {};
