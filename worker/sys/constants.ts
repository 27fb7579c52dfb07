// Constants of the kernel by the names its headers give them, each family one table, for system calls made here and in programs for the
// launcher. Loads nothing: the front uses it, too.

import { constants } from "node:fs";

/** Flags of open(2). O_DIRECTORY and O_NOFOLLOW differ by architecture, so they come from Node. */
export const O: Readonly<Record<OpenFlag, number>> = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DIRECTORY: constants.O_DIRECTORY,
  NOFOLLOW: constants.O_NOFOLLOW,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
};
type OpenFlag =
  | "RDONLY"
  | "WRONLY"
  | "RDWR"
  | "CREAT"
  | "EXCL"
  | "NOCTTY"
  | "TRUNC"
  | "APPEND"
  | "NONBLOCK"
  | "DIRECTORY"
  | "NOFOLLOW"
  | "CLOEXEC"
  | "PATH";

/** Flags of the *at calls, linux/fcntl.h. */
export const AT = {
  FDCWD: -100,
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  SYMLINK_FOLLOW: 0x400,
  EMPTY_PATH: 0x1000,
  RECURSIVE: 0x8000,
} as const;

/** How openat2(2) may walk. */
export const RESOLVE = {
  NO_XDEV: 0x01,
  NO_MAGICLINKS: 0x02,
  NO_SYMLINKS: 0x04,
  BENEATH: 0x08,
  IN_ROOT: 0x10,
} as const;

/** File types and bits of st_mode, inode(7). */
export const S = {
  IFMT: 0o170000,
  IFSOCK: 0o140000,
  IFLNK: 0o120000,
  IFREG: 0o100000,
  IFBLK: 0o060000,
  IFDIR: 0o040000,
  IFCHR: 0o020000,
  IFIFO: 0o010000,
  PERM: 0o7777,
} as const;

/** d_type of readdir(3). */
export const DT = { UNKNOWN: 0, FIFO: 1, CHR: 2, DIR: 4, BLK: 6, REG: 8, LNK: 10, SOCK: 12 } as const;

/** Flags of renameat2(2). */
export const RENAME = { NOREPLACE: 1, EXCHANGE: 2 } as const;

/** Operations of flock(2). */
export const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 } as const;

/** Attributes of fsmount(2) and mount_setattr(2). */
export const MOUNT_ATTR = { RDONLY: 0x01, NOSUID: 0x02, NODEV: 0x04, NOEXEC: 0x08, NOATIME: 0x10 } as const;
/** Flags of open_tree(2). */
export const OPEN_TREE = { CLONE: 0x1 } as const;
/** Flags of move_mount(2). */
export const MOVE_MOUNT = { F_EMPTY_PATH: 0x04, T_SYMLINKS: 0x10, T_EMPTY_PATH: 0x40 } as const;
/** Flags of umount2(2), MNT_*. */
export const UMOUNT = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 } as const;
/** Propagation of mounts, for mount(2) and mount_setattr(2). */
export const PROPAGATION = { PRIVATE: 0x40000, SLAVE: 0x80000, SHARED: 0x100000 } as const;
/** Commands of fsconfig(2). */
export const FSCONFIG = { SET_FLAG: 0, SET_STRING: 1, CMD_CREATE: 6 } as const;

/** Flags of mount(2). */
export const MS = { NOSUID: 2, NODEV: 4, NOEXEC: 8, BIND: 0x1000, REC: 0x4000, PRIVATE: 0x4_0000 } as const;

/** Namespaces, for clone(2), unshare(2) and setns(2). */
export const CLONE = {
  NEWNS: 0x0002_0000,
  NEWCGROUP: 0x0200_0000,
  NEWUTS: 0x0400_0000,
  NEWIPC: 0x0800_0000,
  NEWUSER: 0x1000_0000,
  NEWPID: 0x2000_0000,
  NEWNET: 0x4000_0000,
} as const;

/** Signals, signal(7). */
export const SIG = { KILL: 9, CHLD: 17 } as const;

/** Operations of prctl(2). */
export const PR = { SET_PDEATHSIG: 1, CAPBSET_DROP: 24, SET_CHILD_SUBREAPER: 36 } as const;
