// [keeper] Deletions by name in place of opaque directories.
//
// A directory that a step removed and created again is opaque for overlayfs: whatever layers are below, nothing of theirs is seen in it.
// The step knew only its own layers. Where its layer is put on others (MergeOp: `COPY --link`, the difference of two results), files
// that it never saw must stay, so a layer says what it deletes: a whiteout for each name. image-spec layer.md, "Opaque
// Whiteout", recommends it, and BuildKit writes its layers so.

import { OPAQUE_XATTR, ORIGIN_XATTR } from "../../cache/layers/names.ts";
import {
  close,
  fgetxattr,
  fremovexattr,
  fsetxattr,
  fstat,
  mknodat,
  openat,
  readdir,
  type Stat,
  statxOrNull,
  utimensat,
} from "../sys/file.ts";
import { O, S } from "../sys/constants.ts";

const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW;

/** Does a directory of a layer hide everything below it? `fd`: open for reading. */
export function isOpaque(fd: number): boolean {
  return fgetxattr(fd, OPAQUE_XATTR) !== null;
}

/** Takes the mark from a directory, if it has it: what is put below the layer is seen in it. Throws SysError. */
export function showBelow(parent: number, name: Buffer): void {
  const fd = openat(parent, name, DIRECTORY);
  try {
    if (isOpaque(fd)) fremovexattr(fd, OPAQUE_XATTR);
  } finally {
    close(fd);
  }
}

/** Notes on a directory of a layer that it holds whiteouts, and on the root of a layer that some directory does: stack.ts. */
export function markDeleting(fd: number): void {
  if (fgetxattr(fd, ORIGIN_XATTR) === null) fsetxattr(fd, ORIGIN_XATTR, NOTHING);
}
const NOTHING = Buffer.alloc(0);

/**
 * Replaces the mark of an opaque directory by a whiteout for each name that it has not and the directory below has, in it and in the
 * directories that both have. Its time stays. The mark goes last: what was interrupted can be done again.
 *
 * @param upper the opaque directory, open for reading
 * @param lower what the layers below show there, open for reading
 * @param depth directories below this one that are gone into; those at the end are opaque instead
 * @param spend called with the number of names that are looked at next; may throw
 */
export function deleteByName(
  upper: number,
  lower: number,
  depth: number,
  spend: (names: number) => void,
): void {
  const { mtimeNs } = fstat(upper);
  const below = readdir(lower);
  spend(below.length);
  let isDeleting = false;
  try {
    for (const { name } of below) {
      const there = statxOrNull(upper, name);
      if (there === null) {
        mknodat(upper, name, S.IFCHR, { major: 0, minor: 0 });
        isDeleting = true;
      } else if (isDirectory(there) && isDirectory(statxOrNull(lower, name))) {
        goInto(upper, lower, name, depth, spend);
      }
    }
  } finally {
    if (isDeleting) {
      markDeleting(upper);
      utimensat(upper, null, null, mtimeNs);
    }
  }
  if (isOpaque(upper)) fremovexattr(upper, OPAQUE_XATTR);
}

function goInto(
  upper: number,
  lower: number,
  name: Buffer,
  depth: number,
  spend: (names: number) => void,
): void {
  const above = openat(upper, name, DIRECTORY);
  try {
    if (depth <= 0) {
      fsetxattr(above, OPAQUE_XATTR, Buffer.from("y"));
      return;
    }
    const below = openat(lower, name, DIRECTORY);
    try {
      deleteByName(above, below, depth - 1, spend);
    } finally {
      close(below);
    }
  } finally {
    close(above);
  }
}

function isDirectory(stat: Stat | null): boolean {
  return stat !== null && (stat.mode & S.IFMT) === S.IFDIR;
}
