// [keeper] The launcher of steps: a file on a read-only, detached tmpfs.

import { readlinkSync, writeSync } from "node:fs";
import { launcherElf } from "../launcher/elf.ts";
import { launcherArch } from "../launcher/install.ts";
import { close, openat } from "../sys/file.ts";
import { fsconfigCreate, fsmount, fsopen, mountSetattr } from "../sys/mount.ts";
import { AT, MOUNT_ATTR, O } from "../sys/constants.ts";

/** A path to execute, good for as long as this process lives. A step that gets hold of the file behind it (its
 *  interpreter may be /proc/self/exe, CVE-2019-5736) can neither write it nor reach a directory of the host from it.
 *  It also does not matter whether the store is mounted noexec. */
export function launcherInMemory(): string {
  const dir = detachedTmpfs(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV);
  try {
    const file = openat(dir, "launcher", O.WRONLY | O.CREAT | O.EXCL, 0o755);
    writeSync(file, launcherElf(launcherArch()));
    close(file); // what is open for writing cannot be executed
    mountSetattr(dir, "", AT.EMPTY_PATH, { set: MOUNT_ATTR.RDONLY });
    // /proc is the one of the front's pid namespace, where this process has another number than its own.
    return `/proc/${readlinkSync("/proc/self")}/fd/${openat(dir, "launcher", O.PATH)}`;
  } finally {
    close(dir);
  }
}

/** A new tmpfs as a detached mount. */
export function detachedTmpfs(attributes: number): number {
  const context = fsopen("tmpfs");
  try {
    fsconfigCreate(context);
    return fsmount(context, attributes);
  } finally {
    close(context);
  }
}
