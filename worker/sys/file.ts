// File calls by descriptor. One function per system call, named as in its manual page; all throw SysError.
//
// One file although it is long: it is a reference table, like section 2 of the manual.
// Descriptors always get O_CLOEXEC: a step must not inherit any of ours.

import {
  bind,
  bindSyscall,
  check,
  cpath,
  errno,
  errnumOf,
  NR,
  type PathLike,
  SysError,
  showPath,
} from "./libc.ts";
import { AT, O } from "./constants.ts";

/** What statx(2) tells. Sizes in bytes, times in nanoseconds since the epoch. */
export interface Stat {
  readonly mode: number; // with the type bits
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number; // of 512 bytes
  readonly nlink: number;
  readonly ino: bigint; // overlayfs uses the top bits
  readonly dev: number; // major * 2^32 + minor, only to be compared
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export interface DirEntry {
  readonly name: Buffer;
  readonly type: number; // one of DT
  readonly ino: bigint;
}

const cOpenat = bind("openat", "int", ["int", "ptr", "int", "int"]);
const cMkdirat = bind("mkdirat", "int", ["int", "ptr", "int"]);
const cMknodat = bind("mknodat", "int", ["int", "ptr", "int", "int64"]);
const cSymlinkat = bind("symlinkat", "int", ["ptr", "int", "ptr"]);
const cLinkat = bind("linkat", "int", ["int", "ptr", "int", "ptr", "int"]);
const cUnlinkat = bind("unlinkat", "int", ["int", "ptr", "int"]);
const cFchownat = bind("fchownat", "int", ["int", "ptr", "int64", "int64", "int"]);
const cFchmod = bind("fchmod", "int", ["int", "int"]);
const cFchmodat = bind("fchmodat", "int", ["int", "ptr", "int", "int"]);
const cUtimensat = bind("utimensat", "int", ["int", "ptr", "ptr", "int"]);
const cFutimens = bind("futimens", "int", ["int", "ptr"]);
const cReadlinkat = bind("readlinkat", "int64", ["int", "ptr", "ptr", "int64"]);
const cClose = bind("close", "int", ["int"]);
const cFsync = bind("fsync", "int", ["int"]);
const cSyncfs = bind("syncfs", "int", ["int"]);
const cPipe2 = bind("pipe2", "int", ["ptr", "int"]);
const cFlock = bind("flock", "int", ["int", "int"]);
const cLseek = bind("lseek", "int64", ["int", "int64", "int"]);
const cFsetxattr = bind("fsetxattr", "int", ["int", "ptr", "ptr", "int64", "int"]);
const cLsetxattr = bind("lsetxattr", "int", ["ptr", "ptr", "ptr", "int64", "int"]);
const cLremovexattr = bind("lremovexattr", "int", ["ptr", "ptr"]);
const cFremovexattr = bind("fremovexattr", "int", ["int", "ptr"]);
const cLlistxattr = bind("llistxattr", "int64", ["ptr", "ptr", "int64"]);
const cGetxattr = bind("getxattr", "int64", ["ptr", "ptr", "ptr", "int64"]);
const cLgetxattr = bind("lgetxattr", "int64", ["ptr", "ptr", "ptr", "int64"]);
const cFlistxattr = bind("flistxattr", "int64", ["int", "ptr", "int64"]);
const cFgetxattr = bind("fgetxattr", "int64", ["int", "ptr", "ptr", "int64"]);
const cOpenat2 = bindSyscall(NR.openat2, ["int", "ptr", "ptr", "int64"]);
const cRenameat2 = bindSyscall(NR.renameat2, ["int", "ptr", "int", "ptr", "int"]);
const cStatx = bindSyscall(NR.statx, ["int", "ptr", "int", "int", "ptr"]);
const cCopyFileRange = bindSyscall(NR.copyFileRange, ["int", "ptr", "int", "ptr", "int64", "int"]);
const cGetdents64 = bindSyscall(NR.getdents64, ["int", "ptr", "int"]);

/** openat(2). mode counts with O.CREAT only and is cut by the umask. */
export function openat(dirfd: number, path: PathLike, flags: number, mode = 0): number {
  return check("openat", cOpenat(dirfd, cpath(path), flags | O.CLOEXEC, mode), path);
}

/** openat2(2), since Linux 5.6: resolution that cannot leave dirfd (RESOLVE.IN_ROOT or BENEATH) is done by the kernel. */
export function openat2(
  dirfd: number,
  path: PathLike,
  how: { readonly flags: number; readonly mode?: number; readonly resolve: number },
): number {
  const name = cpath(path);
  HOW.writeUInt32LE(how.flags | O.CLOEXEC, 0); // the upper half of the flags is unused
  HOW.writeUInt32LE(how.mode ?? 0, 8);
  HOW.writeUInt32LE(how.resolve, 16);
  // EAGAIN: a rename or mount ran while ".." was walked (openat2(2)); it asks to be tried again.
  for (let attempt = 1; ; attempt++) {
    const fd = cOpenat2(dirfd, name, HOW, HOW.length);
    if (fd >= 0) return fd;
    const errnum = errno();
    if (attempt >= 100 || errnum !== EAGAIN) throw new SysError("openat2", errnum, showPath(path));
  }
}
const HOW = Buffer.alloc(24); // struct open_how { u64 flags, mode, resolve }
const EAGAIN = errnumOf("EAGAIN");

/** mkdirat(2). mode is cut by the umask. */
export function mkdirat(dirfd: number, path: PathLike, mode: number): void {
  check("mkdirat", cMkdirat(dirfd, cpath(path), mode), path);
}

/** mknodat(2). mode has the type; device numbers count for S.IFCHR and S.IFBLK only. */
export function mknodat(
  dirfd: number,
  path: PathLike,
  mode: number,
  device: { readonly major: number; readonly minor: number } = { major: 0, minor: 0 },
): void {
  check("mknodat", cMknodat(dirfd, cpath(path), mode, makedev(device.major, device.minor)), path);
}

/** dev_t of makedev(3): glibc and musl lay it out alike. */
function makedev(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (
    ((high & 0xfffff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffffff00n) << 12n) | (low & 0xffn)
  );
}

/** symlinkat(2). */
export function symlinkat(target: PathLike, dirfd: number, path: PathLike): void {
  check("symlinkat", cSymlinkat(cpath(target, 0), dirfd, cpath(path, 1)), path);
}

/** linkat(2). Without AT.SYMLINK_FOLLOW a link is made to a symbolic link itself. */
export function linkat(
  oldDirfd: number,
  oldPath: PathLike,
  newDirfd: number,
  newPath: PathLike,
  flags = 0,
): void {
  check("linkat", cLinkat(oldDirfd, cpath(oldPath, 0), newDirfd, cpath(newPath, 1), flags), newPath);
}

/** unlinkat(2). AT.REMOVEDIR for directories. */
export function unlinkat(dirfd: number, path: PathLike, flags = 0): void {
  check("unlinkat", cUnlinkat(dirfd, cpath(path), flags), path);
}

/** renameat2(2). */
export function renameat2(
  oldDirfd: number,
  oldPath: PathLike,
  newDirfd: number,
  newPath: PathLike,
  flags = 0,
): void {
  check("renameat2", cRenameat2(oldDirfd, cpath(oldPath, 0), newDirfd, cpath(newPath, 1), flags), newPath);
}

/** fchownat(2). -1 leaves an id unchanged. "" with AT.EMPTY_PATH means dirfd itself. */
export function fchownat(dirfd: number, path: PathLike, uid: number, gid: number, flags = 0): void {
  check("fchownat", cFchownat(dirfd, cpath(path), uid, gid, flags), path);
}

/** fchmod(2); not for O.PATH descriptors. */
export function fchmod(fd: number, mode: number): void {
  check("fchmod", cFchmod(fd, mode));
}

/** fchmodat(2). Follows a symbolic link in the last component (the kernel has no other form before 6.6): only for
 *  names known not to be links and out of others' reach. */
export function fchmodat(dirfd: number, path: PathLike, mode: number): void {
  check("fchmodat", cFchmodat(dirfd, cpath(path), mode, 0), path);
}

/** utimensat(2). Times in nanoseconds, null leaves one unchanged. A null path means dirfd itself. */
export function utimensat(
  dirfd: number,
  path: PathLike | null,
  atimeNs: bigint | null,
  mtimeNs: bigint | null,
  flags = 0,
): void {
  writeTimespec(0, atimeNs);
  writeTimespec(16, mtimeNs);
  // The system call takes a null path, the C libraries' functions do not: they have futimens for it.
  if (path === null) check("futimens", cFutimens(dirfd, TIMES));
  else check("utimensat", cUtimensat(dirfd, cpath(path), TIMES, flags), path);
}
const TIMES = Buffer.alloc(32); // struct timespec[2]
const UTIME_OMIT = 0x3ffffffen;
const NS = 1_000_000_000n;

function writeTimespec(offset: number, timeNs: bigint | null): void {
  if (timeNs === null) {
    TIMES.writeBigInt64LE(0n, offset);
    TIMES.writeBigInt64LE(UTIME_OMIT, offset + 8);
    return;
  }
  // tv_nsec counts up also before 1970: floor, not truncation.
  const nanoseconds = ((timeNs % NS) + NS) % NS;
  TIMES.writeBigInt64LE((timeNs - nanoseconds) / NS, offset);
  TIMES.writeBigInt64LE(nanoseconds, offset + 8);
}

/** readlinkat(2). "" reads the link an O.PATH descriptor stands for. */
export function readlinkat(dirfd: number, path: PathLike): Buffer {
  const length = check("readlinkat", cReadlinkat(dirfd, cpath(path), LINK, LINK.length), path);
  return Buffer.from(LINK.subarray(0, length));
}
const LINK = Buffer.alloc(4096); // a link's text is shorter than PATH_MAX

/** statx(2) of a name. flags: AT.SYMLINK_NOFOLLOW for the link itself; "" with AT.EMPTY_PATH for dirfd. */
export function statx(dirfd: number, path: PathLike, flags = 0): Stat {
  check("statx", cStatx(dirfd, cpath(path), flags, STATX_BASIC_STATS, STATX), path);
  return decodeStatx();
}

/** Like statx without following, but null when there is no such name. */
export function statxOrNull(dirfd: number, path: PathLike): Stat | null {
  if (cStatx(dirfd, cpath(path), AT.SYMLINK_NOFOLLOW, STATX_BASIC_STATS, STATX) >= 0) return decodeStatx();
  const errnum = errno();
  if (errnum === ENOENT || errnum === ENOTDIR) return null;
  throw new SysError("statx", errnum, showPath(path));
}

/** statx(2) of a descriptor, also an O.PATH one. */
export function fstat(fd: number): Stat {
  return statx(fd, "", AT.EMPTY_PATH);
}
const STATX_BASIC_STATS = 0x7ff;
const STATX = Buffer.alloc(256);
const ENOENT = errnumOf("ENOENT");
const ENOTDIR = errnumOf("ENOTDIR");

/** struct statx, statx(2). Both architectures are little-endian. */
function decodeStatx(): Stat {
  return {
    nlink: STATX.readUInt32LE(16),
    uid: STATX.readUInt32LE(20),
    gid: STATX.readUInt32LE(24),
    mode: STATX.readUInt16LE(28),
    ino: STATX.readBigUInt64LE(32),
    size: STATX.readUInt32LE(44) * 0x1_0000_0000 + STATX.readUInt32LE(40),
    blocks: STATX.readUInt32LE(52) * 0x1_0000_0000 + STATX.readUInt32LE(48),
    ctimeNs: STATX.readBigInt64LE(96) * NS + BigInt(STATX.readUInt32LE(104)),
    mtimeNs: STATX.readBigInt64LE(112) * NS + BigInt(STATX.readUInt32LE(120)),
    rdevMajor: STATX.readUInt32LE(128),
    rdevMinor: STATX.readUInt32LE(132),
    dev: STATX.readUInt32LE(136) * 0x1_0000_0000 + STATX.readUInt32LE(140),
  };
}

/** getdents64(2) until the end, without "." and ".."; in the file system's order. Reads from the start each time. */
export function readdir(fd: number): DirEntry[] {
  check("lseek", cLseek(fd, 0, 0));
  const entries: DirEntry[] = [];
  for (;;) {
    const length = check("getdents64", cGetdents64(fd, DENTS, DENTS.length));
    if (length === 0) return entries;
    // struct linux_dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; }
    for (let at = 0; at < length; at += DENTS.readUInt16LE(at + 16)) {
      const start = at + 19;
      const end = DENTS.indexOf(0, start);
      const name = Buffer.from(DENTS.subarray(start, end));
      if (name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e))) continue;
      entries.push({ name, type: DENTS[at + 18] as number, ino: DENTS.readBigUInt64LE(at) });
    }
  }
}
const DENTS = Buffer.alloc(64 * 1024);

/** One call of getdents64(2) into a buffer: bytes of struct linux_dirent64; 0 at the end. */
export function getdents64(fd: number, into: Uint8Array): number {
  return check("getdents64", cGetdents64(fd, into, into.length));
}

/** A path that reaches what a descriptor stands for, for calls that have no *at form. Works for O.PATH descriptors of
 *  anything but symbolic links; needs a mounted /proc. */
export function procPath(fd: number, name?: PathLike): Buffer {
  const base = `/proc/self/fd/${fd}`;
  return name === undefined
    ? Buffer.from(base)
    : Buffer.concat([Buffer.from(`${base}/`), Buffer.isBuffer(name) ? name : Buffer.from(name)]);
}

/** fsetxattr(2). */
export function fsetxattr(fd: number, name: string, value: Uint8Array): void {
  check("fsetxattr", cFsetxattr(fd, cpath(name), value, value.length, 0), name);
}

/** lsetxattr(2). */
export function lsetxattr(path: PathLike, name: string, value: Uint8Array): void {
  check("lsetxattr", cLsetxattr(cpath(path, 0), cpath(name, 1), value, value.length, 0), path);
}

/** lremovexattr(2). */
export function lremovexattr(path: PathLike, name: string): void {
  check("lremovexattr", cLremovexattr(cpath(path, 0), cpath(name, 1)), path);
}

/** fremovexattr(2). */
export function fremovexattr(fd: number, name: string): void {
  check("fremovexattr", cFremovexattr(fd, cpath(name)), name);
}

/** Names of llistxattr(2); empty where the file system has none. */
export function llistxattr(path: PathLike): string[] {
  return listxattr("llistxattr", path, (buffer) => cLlistxattr(cpath(path), buffer, buffer.length));
}

/** lgetxattr(2), or null when the file has no such attribute. */
export function lgetxattr(path: PathLike, name: string): Buffer | null {
  return readXattr("lgetxattr", name, (buffer) =>
    cLgetxattr(cpath(path, 0), cpath(name, 1), buffer, buffer.length),
  );
}

/** getxattr(2), which follows links, or null when the file has no such attribute. */
export function getxattr(path: PathLike, name: string): Buffer | null {
  return readXattr("getxattr", name, (buffer) =>
    cGetxattr(cpath(path, 0), cpath(name, 1), buffer, buffer.length),
  );
}

/** Names of flistxattr(2); empty where the file system has none. */
export function flistxattr(fd: number): string[] {
  return listxattr("flistxattr", null, (buffer) => cFlistxattr(fd, buffer, buffer.length));
}

/** fgetxattr(2), or null when the file has no such attribute. */
export function fgetxattr(fd: number, name: string): Buffer | null {
  return readXattr("fgetxattr", name, (buffer) => cFgetxattr(fd, cpath(name), buffer, buffer.length));
}

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of xattr(7): no attribute and no list is longer. */
const XATTR = Buffer.alloc(64 * 1024);
const EOPNOTSUPP = errnumOf("EOPNOTSUPP");
const ENODATA = errnumOf("ENODATA");

function listxattr(call: string, path: PathLike | null, list: (buffer: Buffer) => number): string[] {
  const length = list(XATTR);
  if (length === 0) return [];
  if (length < 0) {
    const errnum = errno();
    if (errnum === EOPNOTSUPP) return [];
    throw new SysError(call, errnum, showPath(path));
  }
  return XATTR.toString("utf8", 0, length - 1).split("\0");
}

function readXattr(call: string, name: string, get: (buffer: Buffer) => number): Buffer | null {
  const length = get(XATTR);
  if (length >= 0) return Buffer.from(XATTR.subarray(0, length));
  const errnum = errno();
  if (errnum === ENODATA || errnum === EOPNOTSUPP) return null;
  throw new SysError(call, errnum, name);
}

/** copy_file_range(2) at the files' positions: shares blocks where the file system can. Returns the bytes copied, 0 at
 *  the end of fdIn. */
export function copyFileRange(fdIn: number, fdOut: number, length: number): number {
  return check("copy_file_range", cCopyFileRange(fdIn, null, fdOut, null, length, 0));
}

/** lseek(2); whence: 0 set, 1 current, 2 end, 3 next data, 4 next hole. Null where there is no data behind (ENXIO). */
export function lseek(fd: number, offset: number, whence: 0 | 1 | 2 | 3 | 4): number | null {
  const position = cLseek(fd, offset, whence);
  if (position >= 0) return position;
  const errnum = errno();
  if (errnum === ENXIO && whence >= 3) return null;
  throw new SysError("lseek", errnum, "");
}
const ENXIO = errnumOf("ENXIO");

/** close(2). Never repeated: Linux releases the descriptor even when it reports an error. */
export function close(fd: number): void {
  check("close", cClose(fd));
}

/** fsync(2). */
export function fsync(fd: number): void {
  check("fsync", cFsync(fd));
}

/** syncfs(2): all that is dirty on the file system fd is on. */
export function syncfs(fd: number): void {
  check("syncfs", cSyncfs(fd));
}

/** pipe2(2): read end, write end. */
export function pipe2(flags = 0): [read: number, write: number] {
  const ends = Buffer.alloc(8);
  check("pipe2", cPipe2(ends, flags | O.CLOEXEC));
  return [ends.readInt32LE(0), ends.readInt32LE(4)];
}

/** flock(2). With LOCK.NB false is returned when somebody else holds it. */
export function flock(fd: number, operation: number): boolean {
  if (cFlock(fd, operation) >= 0) return true;
  const errnum = errno();
  if (errnum === EAGAIN) return false;
  throw new SysError("flock", errnum, "");
}
