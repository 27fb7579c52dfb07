// Tar members to files: how a member's name, type, owner, times and attributes are written to disk.
//
// Two forms. "layer": image-spec layer.md, written as an overlay upper directory (overlayfs.rst with userxattr): `.wh.x`
// becomes a 0/0 character device, `.wh..wh..opq` an xattr of its directory. "archive": a plain tar, unpacked as moby does
// for ADD; there `.wh.x` is an ordinary file.
//
// Every name is resolved by the kernel inside the root (openat2, RESOLVE_IN_ROOT) and acted on by descriptor and last
// component (threat model P1-P4, T1-T5). Open parent directories are cached only until something that exists is
// replaced: adding names cannot change where an existing path leads, only replacing can. That rule applies to all kinds of
// members, which is why they are in one file.

import { ftruncateSync, writeSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import {
  close,
  fchmod,
  fchmodat,
  fsetxattr,
  linkat,
  lsetxattr,
  mkdirat,
  mknodat,
  openat,
  openat2,
  procPath,
  statxOrNull,
  symlinkat,
  utimensat,
} from "../../worker/sys/file.ts";
import { isSysError } from "../../worker/sys/libc.ts";
import {
  cleanName,
  isAufsData,
  isImageXattr,
  isWhiteoutName,
  joinName,
  OPAQUE_NAME,
  OPAQUE_XATTR,
  ORIGIN_XATTR,
  shownName,
  WHITEOUT_PREFIX,
} from "./names.ts";
import { setOwner } from "./owner.ts";
import type { TarEntry, TarHandler } from "./tar.ts";
import { removeAt } from "./remove-tree.ts";
import { AT, O, RESOLVE, S } from "../../worker/sys/constants.ts";

/** Members of one archive. */
export const ENTRIES_MAX = 10_000_000;
/** All paths that are kept until the end (of directories whose times are set then): 1.5 million directories of 170 bytes. */
export const KEPT_PATHS_MAX_BYTES: number = 256 * 1024 ** 2;
/** Parent directories kept open. */
const PARENTS_MAX = 32;

export interface WriterOptions {
  readonly form: "layer" | "archive";
  /** May device nodes be made, and ids be given? idMapKind() knows. "none": neither is wanted. */
  readonly idMap: "host" | "mapped" | "single" | "none";
  /** Whose all members are to be; left out or null: who they say. */
  readonly owner?: { readonly uid: number; readonly gid: number } | null;
  /** Told once per kind of loss (a device node, an attribute the file system does not take). */
  readonly note: (message: string) => void;
}

export interface TreeWriter extends TarHandler {
  /** Directory times, at the very end. Call once after the last member. */
  finish(): void;
  /** Closes what is open; always to be called. */
  close(): void;
  readonly entries: number;
  readonly sizeBytes: number;
  /** Directories of a layer that no member names, only paths of others (byte strings, no slash in front): in the image they
   *  look as in the layers below. Complete after finish(). */
  readonly implied: readonly string[];
}

/** Writes members below `root`, a directory descriptor that stays the caller's. Members throw ARCHIVE_INVALID (archive),
 *  IMAGE_INVALID (layer), LIMIT_EXCEEDED or SysError; the tree is then of no use. */
export function treeWriter(root: number, options: WriterOptions): TreeWriter {
  const layer = options.form === "layer";
  const ids = { singleId: options.idMap === "single" };
  const giveOwner = (dirfd: number, name: Buffer | string, uid: number, gid: number): void => {
    if (options.idMap !== "none") setOwner(dirfd, name, uid, gid, ids);
  };
  const parents = new Map<string, number>();
  // A layer that does not speak of the root: the time of unpacking must not reach who copies it.
  const directoryTimes = new Map<string, bigint>(layer ? [[".", 0n]] : []);
  const implied = new Set<string>();
  let keptBytes = 0;
  const noted = new Set<string>();
  let entries = 0;
  let sizeBytes = 0;
  let replaced = false; // something that existed was: what `parents` holds may no longer be where the paths lead
  let current: { readonly fd: number; readonly member: TarEntry; end: number } | null = null;

  function refuse(entry: TarEntry, why: string): never {
    throw new BuildError(
      layer ? "IMAGE_INVALID" : "ARCHIVE_INVALID",
      `${shownName(entry.name)} in the ${options.form} ${why}`,
    );
  }

  function note(kind: string, message: string): void {
    if (noted.has(kind)) return;
    noted.add(kind);
    options.note(message);
  }

  /** The time a directory is given at the end, once nothing is made in it any more. A member of a few bytes may lie below
   *  2,000 directories with paths of 4,095 bytes, so what is kept has a limit of its own (threat model T6). */
  function setTimeLater(path: string, timeNs: bigint): void {
    if (!directoryTimes.has(path)) keptBytes += path.length;
    if (keptBytes > KEPT_PATHS_MAX_BYTES) {
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `the paths of the directories in the ${options.form} exceed ${KEPT_PATHS_MAX_BYTES} bytes in total`,
      );
    }
    directoryTimes.set(path, timeNs);
  }

  function entry(stated: TarEntry): void {
    const member = options.owner ? { ...stated, uid: options.owner.uid, gid: options.owner.gid } : stated;
    if (++entries > ENTRIES_MAX) {
      throw new BuildError("LIMIT_EXCEEDED", `the ${options.form} has more than ${ENTRIES_MAX} entries`);
    }
    const components = cleanName(member.name, options.form, (why) => refuse(member, why));
    if (layer && isAufsData(components)) return;
    const base = components.at(-1);
    if (base === undefined) {
      rootEntry(member);
      return;
    }
    if (layer && isWhiteoutName(base)) {
      whiteout(member, components, base);
      return;
    }
    const parent = parentOf(member, components);
    switch (member.type) {
      case "file":
        openFile(member, parent, base);
        return;
      case "dir":
        directory(member, parent, base, joinName(components));
        return;
      case "link":
        hardLink(member, parent, base);
        return;
      case "symlink":
        if (member.linkName.length === 0) refuse(member, "is a symbolic link without a target");
        create(parent, base, () => symlinkat(member.linkName, parent, base));
        break;
      case "char":
      case "block":
        if (!device(member, parent, base)) return;
        break;
      case "fifo":
        create(parent, base, () => mknodat(parent, base, S.IFIFO | 0o600));
        break;
    }
    setAttributes(member, parent, base);
    setTime(member, parent, base);
  }

  /** Descriptor of the directory a member is in, made with its parents where it is missing. Kept open by us. */
  function parentOf(member: TarEntry, components: readonly Buffer[]): number {
    if (components.length === 1) return root;
    const path = components.slice(0, -1);
    const key = joinName(path).toString("latin1");
    const known = parents.get(key);
    if (known !== undefined && !replaced) return known;
    if (replaced || parents.size >= PARENTS_MAX) forgetParents();
    replaced = false;
    const fd = openDirectory(member, path);
    parents.set(key, fd);
    return fd;
  }

  function openDirectory(member: TarEntry, components: readonly Buffer[]): number {
    try {
      return openInRoot(joinName(components));
    } catch (error) {
      if (!isSysError(error, "ENOENT", "ENOTDIR")) throw unreachable(member, error);
    }
    // Component by component: what is missing is made as moby does (0755, root's), what is there is kept.
    let fd = openInRoot(DOT);
    for (const [i, name] of components.entries()) {
      try {
        const next = openOrMake(member, fd, name, joinName(components.slice(0, i + 1)));
        close(fd);
        fd = next;
      } catch (error) {
        close(fd);
        throw error;
      }
    }
    return fd;
  }

  function openOrMake(member: TarEntry, parent: number, name: Buffer, path: Buffer): number {
    try {
      // By its parent, where it is no link: walking the whole path for each of its parts takes the square of their number.
      return openat(parent, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    } catch (error) {
      if (!isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) throw unreachable(member, error);
    }
    try {
      return openInRoot(path);
    } catch (error) {
      if (!isSysError(error, "ENOENT", "ENOTDIR")) throw unreachable(member, error);
    }
    const there = statxOrNull(parent, name);
    if (there !== null && !(layer && isWhiteout(there))) {
      refuse(member, "is below something that is not a directory");
    }
    if (there !== null) replace(parent, name);
    mkdirat(parent, name, 0o755);
    fchmodat(parent, name, 0o755); // past the umask
    giveOwner(parent, name, 0, 0);
    if (there !== null) markOpaque(parent, name);
    const kept = path.toString("latin1");
    if (there === null && layer) implied.add(kept);
    // Nothing says when it was made, and the clock must not.
    if (layer) setTimeLater(kept, 0n);
    return openInRoot(path);
  }

  function unreachable(member: TarEntry, error: unknown): unknown {
    return isSysError(error, "ELOOP", "ENAMETOOLONG")
      ? refuse(member, "has a path that cannot be resolved")
      : error;
  }

  function openInRoot(path: Buffer): number {
    return openat2(root, path, {
      flags: O.RDONLY | O.DIRECTORY,
      resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
    });
  }

  function forgetParents(): void {
    for (const fd of parents.values()) close(fd);
    parents.clear();
  }

  /** Takes away what is there. From then on paths may lead elsewhere: the next member resolves its own again. */
  function replace(parent: number, name: Buffer): void {
    replaced = true;
    removeAt(parent, name);
  }

  /** Makes a name that is no directory; what had it before is replaced. */
  function create(parent: number, name: Buffer, make: () => void): void {
    try {
      make();
    } catch (error) {
      if (!isSysError(error, "EEXIST")) throw error;
      replace(parent, name);
      make();
    }
  }

  function openFile(member: TarEntry, parent: number, name: Buffer): void {
    let fd = -1;
    create(parent, name, () => {
      fd = openat(parent, name, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
    });
    current = { fd, member, end: 0 };
  }

  function data(chunk: Buffer, offset: number): void {
    if (current === null) return; // of a member that is left out
    for (let done = 0; done < chunk.length; ) {
      done += writeSync(current.fd, chunk, done, chunk.length - done, offset + done);
    }
    current.end = offset + chunk.length;
  }

  function end(): void {
    if (current === null) return;
    const { fd, member, end: written } = current;
    current = null;
    try {
      if (written < member.size) ftruncateSync(fd, member.size); // a hole at the end
      sizeBytes += member.size;
      giveOwner(fd, "", member.uid, member.gid);
      setXattrs(member, (name, value) => fsetxattr(fd, name, value));
      fchmod(fd, member.mode);
      const timeNs = boundTime(member.mtimeNs);
      utimensat(fd, null, timeNs, timeNs);
    } finally {
      close(fd);
    }
  }

  function directory(member: TarEntry, parent: number, name: Buffer, path: Buffer): void {
    try {
      mkdirat(parent, name, 0o700);
    } catch (error) {
      if (!isSysError(error, "EEXIST")) throw error;
      const there = statxOrNull(parent, name);
      if (there === null || (there.mode & S.IFMT) !== S.IFDIR) {
        replace(parent, name);
        mkdirat(parent, name, 0o700);
        // What had the name, a whiteout or a file, hid the layers below; the directory must go on doing so.
        if (layer) markOpaque(parent, name);
      }
    }
    setAttributes(member, parent, name);
    implied.delete(path.toString("latin1"));
    setTimeLater(path.toString("latin1"), boundTime(member.mtimeNs));
  }

  /** Owner, attributes and mode of what was just made or seen to be no link; nobody else works in this tree. */
  function setAttributes(member: TarEntry, parent: number, name: Buffer): void {
    giveOwner(parent, name, member.uid, member.gid);
    setXattrs(member, (key, value) => lsetxattr(procPath(parent, name), key, value));
    if (member.type !== "symlink") fchmodat(parent, name, member.mode);
  }

  function setTime(member: TarEntry, parent: number, name: Buffer): void {
    const timeNs = boundTime(member.mtimeNs);
    utimensat(parent, name, timeNs, timeNs, AT.SYMLINK_NOFOLLOW);
  }

  function rootEntry(member: TarEntry): void {
    if (member.type !== "dir") refuse(member, "would replace the root directory");
    if (!layer) return; // moby leaves the target directory as it is
    giveOwner(root, "", member.uid, member.gid);
    setXattrs(member, (key, value) => fsetxattr(root, key, value));
    fchmod(root, member.mode);
    setTimeLater(".", boundTime(member.mtimeNs));
  }

  /** image-spec layer.md, "Whiteouts": it speaks of the layers below only, so what this layer itself has stays. */
  function whiteout(member: TarEntry, components: readonly Buffer[], base: Buffer): void {
    const parent = parentOf(member, components);
    if (base.equals(OPAQUE_NAME)) {
      fsetxattr(parent, OPAQUE_XATTR, YES);
      return;
    }
    const name = base.subarray(WHITEOUT_PREFIX.length);
    if (name.length === 0 || name.equals(DOT) || name.equals(DOT_DOT))
      refuse(member, "is a whiteout without a name");
    const there = statxOrNull(parent, name);
    if (there === null) {
      mknodat(parent, name, S.IFCHR, { major: 0, minor: 0 });
      fsetxattr(parent, ORIGIN_XATTR, NOTHING);
      if (parent !== root) fsetxattr(root, ORIGIN_XATTR, NOTHING); // it has to be mounted above something: worker/ops/stack.ts
    } else if ((there.mode & S.IFMT) === S.IFDIR) {
      markOpaque(parent, name);
      implied.delete(joinName([...components.slice(0, -1), name]).toString("latin1"));
    }
  }

  function markOpaque(parent: number, name: Buffer): void {
    const fd = openat(parent, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    try {
      fsetxattr(fd, OPAQUE_XATTR, YES);
    } finally {
      close(fd);
    }
  }

  function hardLink(member: TarEntry, parent: number, name: Buffer): void {
    const target = cleanName(member.linkName, options.form, (why) => refuse(member, why));
    const targetName = target.at(-1);
    const missing = () => {
      return refuse(
        member,
        `is a hard link to ${shownName(member.linkName)}, which is not a file in this ${options.form}`,
      );
    };
    if (targetName === undefined) return missing();
    let targetParent: number;
    try {
      targetParent = openInRoot(target.length === 1 ? DOT : joinName(target.slice(0, -1)));
    } catch (error) {
      if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) return missing();
      throw error;
    }
    try {
      // The last component is not followed: neither here nor by linkat(2).
      const there = statxOrNull(targetParent, targetName);
      const type = there === null ? 0 : there.mode & S.IFMT;
      if (there === null || !LINKABLE.includes(type)) return missing();
      const before = statxOrNull(parent, name);
      if (before === null || before.ino !== there.ino || before.dev !== there.dev) {
        if (before !== null) replace(parent, name);
        try {
          linkat(targetParent, targetName, parent, name);
        } catch (error) {
          // It was inside what the link replaces.
          if (isSysError(error, "ENOENT")) return missing();
          throw error;
        }
      }
      // Both names are one file. chown would drop its capabilities, so only what differs is set.
      if (there.uid !== member.uid || there.gid !== member.gid) {
        giveOwner(parent, name, member.uid, member.gid);
        if (type !== S.IFLNK) fchmodat(parent, name, member.mode);
      } else if (type !== S.IFLNK && (there.mode & S.PERM) !== member.mode) {
        fchmodat(parent, name, member.mode);
      }
      setXattrs(member, (key, value) => lsetxattr(procPath(parent, name), key, value));
      setTime(member, parent, name);
    } finally {
      close(targetParent);
    }
  }

  /** False: left out, with a note. */
  function device(member: TarEntry, parent: number, name: Buffer): boolean {
    if (member.type === "char" && member.devMajor === 0 && member.devMinor === 0) {
      // To overlayfs this device means "deleted": an archive says that by name only.
      note("whiteout device", `${shownName(member.name)} is how overlayfs marks a deleted file: skipped`);
      return false;
    }
    // mknod(2) of devices needs CAP_MKNOD of the host, which root of a user namespace lacks even where all ids are its own.
    // containerd leaves them out in user namespaces as well.
    if (options.idMap !== "host" || !makeDevice(parent, name, member)) {
      note(
        "device",
        `${shownName(member.name)} is a device node, which cannot be created without root: skipped`,
      );
      return false;
    }
    return true;
  }

  /** False: not allowed to. */
  function makeDevice(parent: number, name: Buffer, member: TarEntry): boolean {
    const type = member.type === "char" ? S.IFCHR : S.IFBLK;
    const device = { major: member.devMajor, minor: member.devMinor };
    try {
      create(parent, name, () => mknodat(parent, name, type | 0o600, device));
      return true;
    } catch (error) {
      if (isSysError(error, "EPERM")) return false;
      throw error;
    }
  }

  function setXattrs(member: TarEntry, set: (name: string, value: Buffer) => void): void {
    for (const [name, value] of member.xattrs) {
      if (!isImageXattr(name)) continue;
      try {
        set(name, value);
      } catch (error) {
        // The file system or the kind of file does not take it; other builders go on as well.
        if (!isSysError(error, "EOPNOTSUPP", "EPERM", "E2BIG", "ENOSPC")) throw error;
        note(
          `xattr ${name}`,
          `the extended attribute ${name} of ${shownName(member.name)} cannot be set: ${error.errno}`,
        );
      }
    }
  }

  /** Times of directories, which every name made in them had changed. */
  function finish(): void {
    for (const [path, timeNs] of directoryTimes) {
      let fd: number;
      try {
        fd = openat2(root, Buffer.from(path, "latin1"), {
          flags: O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
          resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
        });
      } catch (error) {
        if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) continue; // replaced by a later member
        throw error;
      }
      try {
        utimensat(fd, null, timeNs, timeNs);
      } finally {
        close(fd);
      }
    }
  }

  function closeAll(): void {
    if (current !== null) close(current.fd);
    current = null;
    forgetParents();
  }

  return {
    entry,
    data,
    end,
    finish,
    close: closeAll,
    get entries() {
      return entries;
    },
    get sizeBytes() {
      return sizeBytes;
    },
    get implied() {
      return [...implied];
    },
  };
}

/** What a hard link may be another name of. Not of devices: the one with the numbers 0, 0 deletes. */
const LINKABLE: readonly number[] = [S.IFREG, S.IFLNK, S.IFIFO];
const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");
const YES = Buffer.from("y");
const NOTHING = Buffer.alloc(0);

function isWhiteout(stat: { mode: number; rdevMajor: number; rdevMinor: number }): boolean {
  return (stat.mode & S.IFMT) === S.IFCHR && stat.rdevMajor === 0 && stat.rdevMinor === 0;
}

/** Times no file can have are the epoch: moby and containerd, boundTime. */
function boundTime(timeNs: bigint): bigint {
  return timeNs < 0n || timeNs > MAX_TIME_NS ? 0n : timeNs;
}
const MAX_TIME_NS = (1n << 63n) - 1n;
