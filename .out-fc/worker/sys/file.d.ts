import { type PathLike } from "./libc.ts";
/** Flags of open(2). O_DIRECTORY and O_NOFOLLOW differ by architecture, so they come from Node. */
export declare const O: Readonly<Record<OpenFlag, number>>;
type OpenFlag = "RDONLY" | "WRONLY" | "RDWR" | "CREAT" | "EXCL" | "TRUNC" | "APPEND" | "NONBLOCK" | "DIRECTORY" | "NOFOLLOW" | "CLOEXEC" | "PATH";
/** Flags of the *at calls, linux/fcntl.h. */
export declare const AT: {
    readonly FDCWD: -100;
    readonly SYMLINK_NOFOLLOW: 256;
    readonly REMOVEDIR: 512;
    readonly SYMLINK_FOLLOW: 1024;
    readonly EMPTY_PATH: 4096;
    readonly RECURSIVE: 32768;
};
/** How openat2(2) may walk. */
export declare const RESOLVE: {
    readonly NO_XDEV: 1;
    readonly NO_MAGICLINKS: 2;
    readonly NO_SYMLINKS: 4;
    readonly BENEATH: 8;
    readonly IN_ROOT: 16;
};
/** File types and bits of st_mode, inode(7). */
export declare const S: {
    readonly IFMT: 61440;
    readonly IFSOCK: 49152;
    readonly IFLNK: 40960;
    readonly IFREG: 32768;
    readonly IFBLK: 24576;
    readonly IFDIR: 16384;
    readonly IFCHR: 8192;
    readonly IFIFO: 4096;
    readonly PERM: 4095;
};
/** d_type of readdir(3). */
export declare const DT: {
    readonly UNKNOWN: 0;
    readonly FIFO: 1;
    readonly CHR: 2;
    readonly DIR: 4;
    readonly BLK: 6;
    readonly REG: 8;
    readonly LNK: 10;
    readonly SOCK: 12;
};
/** Flags of renameat2(2). */
export declare const RENAME: {
    readonly NOREPLACE: 1;
    readonly EXCHANGE: 2;
};
/** What statx(2) tells. Sizes in bytes, times in nanoseconds since the epoch. */
export interface Stat {
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
    readonly blocks: number;
    readonly nlink: number;
    readonly ino: bigint;
    readonly dev: number;
    readonly rdevMajor: number;
    readonly rdevMinor: number;
    readonly mtimeNs: bigint;
    readonly ctimeNs: bigint;
}
export interface DirEntry {
    readonly name: Buffer;
    readonly type: number;
    readonly ino: bigint;
}
/** openat(2). mode counts with O.CREAT only and is cut by the umask. */
export declare function openat(dirfd: number, path: PathLike, flags: number, mode?: number): number;
/** openat2(2), since Linux 5.6: resolution that cannot leave dirfd (RESOLVE.IN_ROOT or BENEATH) is done by the kernel. */
export declare function openat2(dirfd: number, path: PathLike, how: {
    readonly flags: number;
    readonly mode?: number;
    readonly resolve: number;
}): number;
/** mkdirat(2). mode is cut by the umask. */
export declare function mkdirat(dirfd: number, path: PathLike, mode: number): void;
/** mknodat(2). mode has the type; device numbers count for S.IFCHR and S.IFBLK only. */
export declare function mknodat(dirfd: number, path: PathLike, mode: number, device?: {
    readonly major: number;
    readonly minor: number;
}): void;
/** symlinkat(2). */
export declare function symlinkat(target: PathLike, dirfd: number, path: PathLike): void;
/** linkat(2). Without AT.SYMLINK_FOLLOW a link is made to a symbolic link itself. */
export declare function linkat(oldDirfd: number, oldPath: PathLike, newDirfd: number, newPath: PathLike, flags?: number): void;
/** unlinkat(2). AT.REMOVEDIR for directories. */
export declare function unlinkat(dirfd: number, path: PathLike, flags?: number): void;
/** renameat2(2). */
export declare function renameat2(oldDirfd: number, oldPath: PathLike, newDirfd: number, newPath: PathLike, flags?: number): void;
/** fchownat(2). -1 leaves an id as it is. "" with AT.EMPTY_PATH means dirfd itself. */
export declare function fchownat(dirfd: number, path: PathLike, uid: number, gid: number, flags?: number): void;
/** fchmod(2); not for O.PATH descriptors. */
export declare function fchmod(fd: number, mode: number): void;
/** fchmodat(2). Follows a symbolic link in the last component (the kernel has no other form before 6.6): only for
 *  names known not to be links and out of others' reach. */
export declare function fchmodat(dirfd: number, path: PathLike, mode: number): void;
/** utimensat(2). Times in nanoseconds, null leaves one as it is. A null path means dirfd itself. */
export declare function utimensat(dirfd: number, path: PathLike | null, atimeNs: bigint | null, mtimeNs: bigint | null, flags?: number): void;
/** readlinkat(2). "" reads the link an O.PATH descriptor stands for. */
export declare function readlinkat(dirfd: number, path: PathLike): Buffer;
/** statx(2) of a name. flags: AT.SYMLINK_NOFOLLOW for the link itself; "" with AT.EMPTY_PATH for dirfd. */
export declare function statx(dirfd: number, path: PathLike, flags?: number): Stat;
/** Like statx without following, but null when there is no such name. */
export declare function statxOrNull(dirfd: number, path: PathLike): Stat | null;
/** statx(2) of a descriptor, also an O.PATH one. */
export declare function fstat(fd: number): Stat;
/** getdents64(2) until the end, without "." and ".."; in the file system's order. Reads from the start each time. */
export declare function readdir(fd: number): DirEntry[];
/** A path that reaches what a descriptor stands for, for calls that have no *at form. Works for O.PATH descriptors of
 *  anything but symbolic links; needs a mounted /proc. */
export declare function procPath(fd: number, name?: PathLike): Buffer;
/** fsetxattr(2). */
export declare function fsetxattr(fd: number, name: string, value: Uint8Array): void;
/** lsetxattr(2). */
export declare function lsetxattr(path: PathLike, name: string, value: Uint8Array): void;
/** lremovexattr(2). */
export declare function lremovexattr(path: PathLike, name: string): void;
/** Names of llistxattr(2); empty where the file system has none. */
export declare function llistxattr(path: PathLike): string[];
/** lgetxattr(2), or null when the file has no such attribute. */
export declare function lgetxattr(path: PathLike, name: string): Buffer | null;
/** Names of flistxattr(2); empty where the file system has none. */
export declare function flistxattr(fd: number): string[];
/** fgetxattr(2), or null when the file has no such attribute. */
export declare function fgetxattr(fd: number, name: string): Buffer | null;
/** copy_file_range(2) at the files' positions: shares blocks where the file system can. Returns the bytes copied, 0 at
 *  the end of fdIn. */
export declare function copyFileRange(fdIn: number, fdOut: number, length: number): number;
/** lseek(2); whence: 0 set, 1 current, 2 end, 3 next data, 4 next hole. Null where there is no data behind (ENXIO). */
export declare function lseek(fd: number, offset: number, whence: 0 | 1 | 2 | 3 | 4): number | null;
/** close(2). Never repeated: Linux releases the descriptor even when it reports an error. */
export declare function close(fd: number): void;
/** fsync(2). */
export declare function fsync(fd: number): void;
/** syncfs(2): all that is dirty on the file system fd is on. */
export declare function syncfs(fd: number): void;
/** pipe2(2): read end, write end. */
export declare function pipe2(flags?: number): [read: number, write: number];
/** Operations of flock(2). */
export declare const LOCK: {
    readonly SH: 1;
    readonly EX: 2;
    readonly NB: 4;
    readonly UN: 8;
};
/** flock(2). With LOCK.NB false is returned when somebody else holds it. */
export declare function flock(fd: number, operation: number): boolean;
export {};
