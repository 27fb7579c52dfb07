// [keeper] The sources of a step's mounts as detached mounts: overlays of layers, and clones of subtrees (threat model P8).

import { existsSync } from "node:fs";
import { join } from "node:path";
import { makeDirectories } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecJob, ExecJobMount } from "../keeper/messages.ts";
import { close, fchmod, fchownat, fstat, openat, openat2 } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import {
  fsconfigCreate,
  fsconfigString,
  fsmount,
  fsopen,
  moveMount,
  openTree,
  overlayMount,
  umount2,
} from "../sys/mount.ts";
import { stackOf } from "../ops/stack.ts";
import { openSshRelay } from "./ssh-relay.ts";
import type { StepMount } from "./step-plan.ts";
import { AT, MOUNT_ATTR, MOVE_MOUNT, O, OPEN_TREE, RESOLVE, S, UMOUNT } from "../sys/constants.ts";

export interface MountSourceContext {
  readonly storeDir: string;
  /** Called with what must be given back after the step. */
  readonly onEnd: (release: () => void) => void;
  /** For who looks into mounts: told each that is a directory, as a whole, before a part of it is selected. Then temporary file systems are
   *  made here; omitted: the step makes them. */
  readonly onTree?: (root: number) => void;
}

/** Layer directories without those that come again further up: overlayfs refuses a directory that is listed twice. */
function uniqueDirs(dirs: readonly string[]): string[] {
  return dirs.filter((dir, index) => dirs.lastIndexOf(dir) === index);
}

/** Makes the source of one mount. Throws MOUNT_INVALID, CONTEXT_PATH_MISSING, SANDBOX_UNAVAILABLE. */
export async function mountSource(
  mount: ExecJobMount,
  context: MountSourceContext,
): Promise<StepMount["source"]> {
  const hold = (fd: number): number => {
    context.onEnd(() => close(fd));
    return fd;
  };
  switch (mount.kind) {
    case "tmpfs":
      return tmpfsSource(mount.sizeBytes, context, hold);
    case "secret":
      return { kind: "data", data: mount.data, uid: mount.uid, gid: mount.gid, mode: mount.mode };
    case "ssh": {
      try {
        const relay = await openSshRelay({
          ...mount,
          clone(dir, name) {
            const part = openPart(dir, name);
            try {
              return clonePart(dir, part, name, context.storeDir);
            } finally {
              close(part);
            }
          },
        });
        context.onEnd(() => relay.close());
        return { kind: "fd", fd: relay.fd, isFile: true };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
        throw new BuildError(
          "SANDBOX_UNAVAILABLE",
          `the agent socket cannot be owned by ${mount.uid}:${mount.gid}`,
          {
            hint: "this needs subordinate ids: apt-get install uidmap, and add entries for your user to /etc/subuid and /etc/subgid",
            cause: error,
          },
        );
      }
    }
    case "directory":
      return directorySource(mount, context, hold);
    case "tree":
      return treeSource(mount, context, hold);
  }
}

function directorySource(
  mount: Extract<ExecJobMount, { kind: "directory" }>,
  { onTree }: MountSourceContext,
  hold: (fd: number) => number,
): StepMount["source"] {
  const path = hold(openat(AT.FDCWD, mount.path, O.PATH));
  const isFile = (fstat(path).mode & S.IFMT) !== S.IFDIR;
  if (isFile && !mount.fileAllowed) {
    throw new BuildError("MOUNT_INVALID", `the source of the mount at ${mount.target} is not a directory`);
  }
  if (mount.owner !== null) {
    const dir = openat(path, ".", O.RDONLY | O.DIRECTORY);
    try {
      fchownat(dir, "", mount.owner.uid, mount.owner.gid, AT.EMPTY_PATH);
      fchmod(dir, mount.owner.mode);
    } finally {
      close(dir);
    }
  }
  const fd = hold(openTree(path, "", OPEN_TREE.CLONE | AT.EMPTY_PATH | AT.RECURSIVE));
  if (!isFile) onTree?.(fd);
  return { kind: "fd", fd, isFile };
}

function tmpfsSource(
  sizeBytes: number | null,
  { onTree }: MountSourceContext,
  hold: (fd: number) => number,
): StepMount["source"] {
  if (onTree === undefined) return { kind: "tmpfs", sizeBytes };
  const context = fsopen("tmpfs");
  try {
    fsconfigString(context, "mode", "1777");
    if (sizeBytes !== null) fsconfigString(context, "size", String(sizeBytes));
    fsconfigCreate(context);
    const fd = hold(fsmount(context, MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV));
    onTree(fd);
    return { kind: "fd", fd, isFile: false };
  } finally {
    close(context);
  }
}

function treeSource(
  mount: Extract<ExecJobMount, { kind: "tree" }>,
  context: MountSourceContext,
  hold: (fd: number) => number,
): StepMount["source"] {
  if (mount.dirs.length === 0 && mount.upper === null) return tmpfsSource(null, context, hold);
  const { storeDir, onTree } = context;
  const lowers = lowersOf(mount.dirs, storeDir);
  const tree = hold(
    mount.upper === null || mount.work === null
      ? overlayMount({ lowers, userxattr: true })
      : overlayMount({ lowers, upper: mount.upper, work: mount.work, userxattr: true, volatile: true }),
  );
  onTree?.(tree);
  const selector = mount.selector.replace(/^\/+|\/+$/g, "");
  if (selector === "" || selector === ".") return { kind: "fd", fd: tree, isFile: false };
  let part: number;
  try {
    part = hold(openPart(tree, selector));
  } catch (error) {
    if (isSysError(error, "ENOENT", "ENOTDIR")) {
      throw new BuildError(
        "CONTEXT_PATH_MISSING",
        `failed to calculate checksum of ref: "/${selector}": not found`,
        {
          hint: `the source of RUN --mount for ${mount.target} does not exist`,
        },
      );
    }
    throw error;
  }
  const isFile = (fstat(part).mode & S.IFMT) !== S.IFDIR;
  return { kind: "fd", fd: hold(clonePart(tree, part, selector, storeDir)), isFile };
}

function openPart(tree: number, selector: string): number {
  return openat2(tree, selector, { flags: O.PATH, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
}

/** A detached mount of a part of a detached mount. Before Linux 6.15 the whole must have a place for that moment. */
function clonePart(tree: number, part: number, selector: string, storeDir: string): number {
  try {
    return openTree(part, "", OPEN_TREE.CLONE | AT.EMPTY_PATH);
  } catch (error) {
    if (!isSysError(error, "EINVAL")) throw error;
  }
  const place = scratchDir(storeDir);
  const whole = openTree(tree, "", AT.EMPTY_PATH);
  try {
    moveMount(whole, "", AT.FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH);
    const root = openat(AT.FDCWD, place, O.PATH | O.DIRECTORY);
    try {
      const inside = openPart(root, selector);
      try {
        return openTree(inside, "", OPEN_TREE.CLONE | AT.EMPTY_PATH);
      } finally {
        close(inside);
      }
    } finally {
      close(root);
      umount2(place, UMOUNT.DETACH);
    }
  } finally {
    close(whole);
  }
}

/** The layers below a tree that steps write to, oldest first. There is always one: without it a step would write its upper
 *  directory itself instead of through overlayfs, which keeps the marks of layers (whiteouts, user.overlay.*) to itself. */
export function lowersOf(dirs: readonly string[], storeDir: string): readonly string[] {
  if (dirs.length > 0) return stackOf(uniqueDirs(dirs));
  const empty = join(storeDir, "bin", "empty");
  if (!existsSync(empty)) makeDirectories(empty, 0o755);
  return [empty];
}

/** An empty directory that only ever serves as a mount point of namespaces nobody else sees. */
export function scratchDir(storeDir: string): string {
  const dir = join(storeDir, "bin", "root");
  if (!existsSync(dir)) makeDirectories(dir, 0o700);
  return dir;
}

/** What a step with security.insecure gets beyond the usual devices, if this machine has it: for images of disks, as in BuildKit. */
const INSECURE_DEVICES: readonly string[] = [
  "/dev/fuse",
  "/dev/loop-control",
  ...Array.from({ length: 8 }, (_, index) => `/dev/loop${index}`),
];

/** The devices of a step beyond the usual ones: those the job names, and those of an insecure step that are here. */
export function devicesOf({ devices, security }: ExecJob): readonly string[] {
  return security === "insecure"
    ? [...devices, ...INSECURE_DEVICES.filter((path) => existsSync(path))]
    : devices;
}
