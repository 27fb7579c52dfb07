// Settings of the machine read from files: kernel settings, programs, emulators. Cheap, changes nothing.

import { readFileSync, statfsSync, statSync } from "node:fs";
import { digestOf } from "../solver/graph/digest.ts";
import { findProgram } from "./keeper/userns.ts";

/** A file of the kernel's, trimmed; null: there is none, or it is not for us. */
export function kernelText(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

/** Settings that can switch user namespaces off; null: this kernel has no such setting. user_namespaces(7), namespaces(7);
 *  the other two are patches of Debian's and Ubuntu's kernels. */
export interface NamespaceSettings {
  readonly maxUserNamespaces: number | null;
  readonly unprivilegedClone: number | null;
  readonly apparmorRestricts: number | null;
  readonly supported: boolean;
  /** This process and its children cannot gain privileges by setuid programs. prctl(2) */
  readonly noNewPrivileges: boolean;
  /** A system-call filter is on this process itself: a container's. */
  readonly filtered: boolean;
}

const SYSCTL = {
  maxUserNamespaces: "/proc/sys/user/max_user_namespaces",
  unprivilegedClone: "/proc/sys/kernel/unprivileged_userns_clone",
  apparmorRestricts: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
} as const;

export function readNamespaceSettings(): NamespaceSettings {
  const number = (path: string): number | null => {
    const text = kernelText(path);
    return text === null || !/^\d+$/.test(text) ? null : Number(text);
  };
  const status = kernelText("/proc/self/status") ?? "";
  return {
    maxUserNamespaces: number(SYSCTL.maxUserNamespaces),
    unprivilegedClone: number(SYSCTL.unprivilegedClone),
    apparmorRestricts: number(SYSCTL.apparmorRestricts),
    supported: kernelText("/proc/self/uid_map") !== null,
    noNewPrivileges: /^NoNewPrivs:\s*1$/m.test(status),
    filtered: /^Seccomp:\s*[12]$/m.test(status),
  };
}

/** Names of file systems by statfs(2)'s f_type, those that say something about overlayfs or free space. linux/magic.h */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  [0xef53]: "ext4",
  [0x5846_5342]: "xfs",
  [0x9123_683e]: "btrfs",
  [0x0102_1994]: "tmpfs",
  [0x794c_7630]: "overlayfs",
  [0x6969]: "NFS",
  [0x6573_5546]: "FUSE",
  [0x2fc1_2fc1]: "ZFS",
  [0xf2f5_2010]: "f2fs",
  [0xca45_1a4e]: "bcachefs",
};

/** The file system a directory is on; free bytes are those an ordinary user can have. */
export function describeDisk(dir: string): { readonly type: string; readonly freeBytes: number } {
  const { type, bavail, bsize } = statfsSync(dir);
  return { type: FILE_SYSTEMS[type] ?? `type 0x${type.toString(16)}`, freeBytes: bavail * bsize };
}

/** Names everything an answer about this machine depends on: another start, kernel, user, setting or installed program gives
 *  another key. The directories of PATH change when a program comes or goes. */
export function machineKey(options: {
  readonly path: string;
  readonly uid: number;
  readonly dir: string;
}): string {
  const changed = (file: string): string => {
    try {
      const { mtimeMs, ctimeMs } = statSync(file);
      return `${mtimeMs} ${ctimeMs}`;
    } catch {
      return "absent";
    }
  };
  const helpers = ["newuidmap", "newgidmap", "pasta", "slirp4netns"].flatMap(
    (name) => findProgram(name, options.path) ?? [],
  );
  return digestOf(
    JSON.stringify([
      1, // form of what is kept under the key
      kernelText("/proc/sys/kernel/random/boot_id"),
      kernelText("/proc/sys/kernel/osrelease"),
      process.version,
      options.uid,
      options.dir,
      options.path,
      Object.values(SYSCTL).map(kernelText),
      kernelText("/proc/self/cgroup"),
      ["/etc/subuid", "/etc/subgid", "/dev/net/tun", ...helpers, ...options.path.split(":")].map(changed),
    ]),
  );
}
