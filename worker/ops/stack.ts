// [keeper] Layers in mount order, with corrections that their own directories cannot express.
//
// Overlayfs shows a directory as in the topmost layer that has it. A layer that has one only implicitly (cache/layers/
// implied.ts) would hide the 1777 of /tmp behind a plain 0755. Above such a layer goes a second one that contains only these
// directories, as in the layers below. It is created once for each list of layers, next to the layer.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { readImplied } from "../../cache/layers/implied.ts";
import { ORIGIN_XATTR } from "../../cache/layers/names.ts";
import { removeTree } from "../../cache/layers/remove-tree.ts";
import { nativePath, parentOf } from "../../cache/tree.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  close,
  fchmod,
  fchownat,
  fgetxattr,
  flistxattr,
  fsetxattr,
  fstat,
  mkdirat,
  openat,
  openat2,
  readdir,
  statxOrNull,
  utimensat,
} from "../sys/file.ts";
import { STACK_MAX } from "../sys/stack-limit.ts";
import { AT, O, RESOLVE, S } from "../sys/constants.ts";

/** The directories to be stacked for these layers, oldest first. Throws LIMIT_EXCEEDED for more than the kernel stacks. */
export function stackOf(layers: readonly string[]): readonly string[] {
  const [only] = layers;
  if (only !== undefined && layers.length === 1 && deletes(only)) return [nothingBelow(only), only];
  const stack = layers.flatMap((layer, index) => {
    const implied = index === 0 ? [] : readImplied(layer);
    const amended = implied.length === 0 ? null : amend(layer, implied, layers.slice(0, index));
    return amended === null ? [layer] : [layer, amended];
  });
  if (stack.length <= STACK_MAX) return stack;
  throw new BuildError(
    "LIMIT_EXCEEDED",
    `${stack.length} layers: this kernel can mount at most ${STACK_MAX}`,
    { hint: "combine steps: RUN a && b, one COPY of a directory" },
  );
}

/**
 * May it delete what is in layers below? The difference of two results is such a layer and may be looked at alone. Mounted as it is, marks of
 * deleted files would be devices in it; above an empty directory they are marks. Directories that hold some were copied up by overlayfs, or
 * noted as such (cache/layers/entry.ts), and so are those above them; only the root may have been an upper directory by itself.
 */
function deletes(layer: string): boolean {
  const fd = openat(AT.FDCWD, layer, O.RDONLY | O.DIRECTORY);
  try {
    if (flistxattr(fd).some((name) => MARKS.has(name))) return true;
    return readdir(fd).some(({ type, name }) => {
      const stat = type === DT_CHR ? statxOrNull(fd, name) : null;
      return stat !== null && stat.rdevMajor === 0 && stat.rdevMinor === 0;
    });
  } finally {
    close(fd);
  }
}
const DT_CHR = 2; // readdir(3)
const MARKS: ReadonlySet<string> = new Set([ORIGIN_XATTR, "user.overlay.impure", "user.overlay.opaque"]);

function nothingBelow(layer: string): string {
  const place = join(dirname(layer), "nothing");
  try {
    mkdirSync(place, { mode: 0o755 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return place;
}

/** The directory that goes above a layer; null: the layers below know none of its implied directories. */
function amend(layer: string, implied: readonly string[], below: readonly string[]): string | null {
  const place = join(dirname(layer), `amended-${keyOf(below)}`);
  const made = statSync(place, { throwIfNoEntry: false });
  if (made !== undefined) return made.isDirectory() ? place : null;
  // Each list is read once, and no descriptor kept: a layer may have a million of these directories.
  const lists = new Map(below.map((other) => [other, new Set(readImplied(other))]));
  const found = new Map<string, string>();
  for (const path of implied) {
    const at = findBelow(path, below, lists);
    if (at !== null) found.set(path, at);
  }
  if (found.size === 0) {
    writeFileSync(place, "");
    return null;
  }
  const draft = `${place}.${process.pid}-${performance.now()}`;
  mkdirSync(draft, { mode: 0o700 });
  try {
    fill(draft, layer, found);
    renameSync(draft, place);
  } catch (error) {
    removeTree(draft);
    // Somebody else was quicker with the same.
    if (!["EEXIST", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  return place;
}

/** What is below, by name; layers do not change. The boot: nothing here is flushed, so it counts until a power cut only. */
function keyOf(below: readonly string[]): string {
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  return createHash("sha256")
    .update([boot, ...below].join("\0"))
    .digest("hex")
    .slice(0, 32);
}

/** The layer below whose directory is the one that is seen at a path; null: there is none. */
function findBelow(
  path: string,
  below: readonly string[],
  lists: ReadonlyMap<string, ReadonlySet<string>>,
): string | null {
  for (const layer of below.toReversed()) {
    const found = findIn(layer, path);
    if (found === "hidden") return null;
    // Where it is implied as well, as little is said there as here.
    if (found === "there" && lists.get(layer)?.has(path) !== true) return layer;
  }
  return null;
}

/** "hidden": this layer deletes or replaces what is below it at the path. */
function findIn(layer: string, path: string): "there" | "hidden" | "absent" {
  let fd = openat(AT.FDCWD, layer, O.RDONLY | O.DIRECTORY);
  let isOpaque = false;
  for (const part of path.split("/")) {
    const name = nativePath(part);
    const stat = statxOrNull(fd, name);
    if (stat === null || (stat.mode & S.IFMT) !== S.IFDIR) {
      close(fd);
      return stat === null && !isOpaque ? "absent" : "hidden";
    }
    const next = openat(fd, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    close(fd);
    fd = next;
    isOpaque ||= fgetxattr(fd, "user.overlay.opaque") !== null;
  }
  close(fd);
  return "there";
}

/** Makes the directories and those on the way to them, which look as in the layer itself. */
function fill(draft: string, layer: string, found: ReadonlyMap<string, string>): void {
  const paths = new Set<string>();
  for (const path of found.keys()) {
    for (let part = path; part !== "" && !paths.has(part); part = parentOf(part)) paths.add(part);
  }
  const root = openat(AT.FDCWD, draft, O.RDONLY | O.DIRECTORY);
  const own = openat(AT.FDCWD, layer, O.RDONLY | O.DIRECTORY);
  try {
    const sorted = [...paths].sort();
    for (const path of sorted) mkdirat(root, nativePath(path), 0o700);
    // Inner ones first: what is done in a directory changes its time.
    for (const path of sorted.reverse()) {
      const to = openBelow(root, path);
      const from = openFrom(found.get(path) ?? layer, path);
      try {
        copyLook(from, to);
      } finally {
        close(to);
        close(from);
      }
    }
    copyLook(own, root);
  } finally {
    close(own);
    close(root);
  }
}

function openFrom(layer: string, path: string): number {
  const root = openat(AT.FDCWD, layer, O.RDONLY | O.DIRECTORY);
  try {
    return openBelow(root, path);
  } finally {
    close(root);
  }
}

function openBelow(root: number, path: string): number {
  return openat2(root, nativePath(path), {
    flags: O.RDONLY | O.DIRECTORY | O.NOFOLLOW,
    resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
  });
}

/** Owner, attributes, mode and time of a directory; not whether it is opaque. */
function copyLook(from: number, to: number): void {
  const { mode, uid, gid, mtimeNs } = fstat(from);
  fchownat(to, "", uid, gid, AT.EMPTY_PATH);
  for (const name of flistxattr(from)) {
    if (name.startsWith("user.overlay.")) continue;
    const value = fgetxattr(from, name);
    if (value !== null && (name.startsWith("user.") || name.startsWith("system.posix_acl_"))) {
      fsetxattr(to, name, value);
    }
  }
  fchmod(to, mode & S.PERM);
  utimensat(to, null, mtimeNs, mtimeNs);
}
