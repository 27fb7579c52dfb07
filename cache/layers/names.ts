// Names in layers: their components, names with a special meaning, and attributes by name.

import { printable } from "../../solver/graph/error.ts";
import { PATH_MAX_BYTES, pathTooLong } from "../tree.ts";

/** image-spec layer.md, "Whiteouts": a file of this prefix deletes the rest of its name from the layers below. */
export const WHITEOUT_PREFIX: Buffer = Buffer.from(".wh.");
/** Everything the layers below have in its directory is deleted. */
export const OPAQUE_NAME: Buffer = Buffer.from(".wh..wh..opq");
/** The same for overlayfs with userxattr: "y" on the directory. overlayfs.rst, "whiteouts and opaque directories". */
export const OPAQUE_XATTR = "user.overlay.opaque";
/** Where overlayfs notes what a directory was copied up from; empty: it is not known. With it, whiteouts in a directory that only one layer
 *  has are not listed (fs/overlayfs, ovl_get_inode(): OVL_WHITEOUTS). */
export const ORIGIN_XATTR = "user.overlay.origin";

const AUFS_PREFIX = Buffer.from(".wh..wh.");
const SLASH = Buffer.from("/");
/** NAME_MAX of limits.h. */
const COMPONENT_MAX_BYTES = 255;

/** Components of a member's name with "." and ".." taken away, as Go's path.Clean does before anything is examined.
 *  `refuse` throws. Throws LIMIT_EXCEEDED for a path no file can have. */
export function cleanName(name: Buffer, form: "layer" | "archive", refuse: (why: string) => never): Buffer[] {
  const parts: Buffer[] = [];
  let length = -1; // of the clean name: its parts with a slash before each, but for the first
  for (let from = 0; from <= name.length; ) {
    const slash = name.indexOf(0x2f, from);
    const to = slash < 0 ? name.length : slash;
    const part = name.subarray(from, to);
    from = to + 1;
    if (part.length === 0 || (part.length === 1 && part[0] === 0x2e)) continue;
    if (part.length === 2 && part[0] === 0x2e && part[1] === 0x2e) {
      const left = parts.pop(); // above the root is the root, as moby has it, for which an archive's target is the root
      if (left !== undefined) length -= left.length + 1;
      continue;
    }
    if (part.length > COMPONENT_MAX_BYTES) refuse("has a name that is too long");
    parts.push(part);
    length += part.length + 1;
  }
  if (length > PATH_MAX_BYTES) throw pathTooLong(joinName(parts).toString("latin1"));
  if (form === "layer" && parts.slice(0, -1).some((part) => isWhiteoutName(part) && !isAufsName(part))) {
    refuse("is below a whiteout");
  }
  return parts;
}

/** Does this name delete something where it stands in a layer? */
export function isWhiteoutName(name: Buffer): boolean {
  return startsWith(name, WHITEOUT_PREFIX);
}

/** Data of aufs, which old layers hold; only the opaque marker was adopted by the format. */
export function isAufsData(components: readonly Buffer[]): boolean {
  return components.some((part, i) => {
    return isAufsName(part) && !(i === components.length - 1 && part.equals(OPAQUE_NAME));
  });
}

function isAufsName(name: Buffer): boolean {
  return startsWith(name, AUFS_PREFIX);
}

function startsWith(name: Buffer, prefix: Buffer): boolean {
  return name.length >= prefix.length && prefix.equals(name.subarray(0, prefix.length));
}

/** Attributes that are the image's. Not those of overlayfs, ours, or labels of a host's security modules (T5, T8). */
export function isImageXattr(name: string): boolean {
  if (name.startsWith("user.")) return !name.startsWith("user.overlay.") && !name.startsWith("user.tsbuild.");
  return name === "security.capability" || name.startsWith("system.posix_acl_");
}

/** Components with slashes between them. */
export function joinName(components: readonly Buffer[]): Buffer {
  return Buffer.concat(components.flatMap((part, i) => (i === 0 ? [part] : [SLASH, part])));
}

/** A name for a message: quoted, without control characters. */
export function shownName(name: Buffer): string {
  return JSON.stringify(printable(name.toString()));
}
