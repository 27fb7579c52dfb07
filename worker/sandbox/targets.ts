// [keeper] Where a mount goes if a link of the image leads to a path that does not exist yet.

import { close, fchmodat, mkdirat, mknodat, openat2, readlinkat, statxOrNull } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";
import { O, RESOLVE, S } from "../sys/constants.ts";

/** As many links as the kernel follows, path_resolution(7). */
const LINKS_MAX = 40;

/** The target with its dangling links replaced by what they say, as runc does it; other targets as they are. The result
 *  is only a name to be made: mounting resolves it again, inside the root, by descriptor. */
export function resolveTarget(rootFd: number, target: string): string {
  let parts = target.split("/").filter((part) => part !== "" && part !== ".");
  const done: string[] = [];
  for (let links = 0; parts.length > 0; ) {
    const [part = "", ...rest] = parts;
    if (part === "..") {
      done.pop();
      parts = rest;
      continue;
    }
    const found = lookUp(rootFd, `/${done.join("/")}`, part);
    if (found === "missing") return `/${[...done, ...parts].join("/")}`;
    if (found !== "other") {
      links += 1;
      if (links > LINKS_MAX) return target; // mounting will say ELOOP
      if (found.startsWith("/")) done.length = 0;
      parts = [...found.split("/").filter((name) => name !== "" && name !== "."), ...rest];
      continue;
    }
    done.push(part);
    parts = rest;
  }
  return `/${done.join("/")}`;
}

/** What is at `name` in the directory: the text of a link, nothing, or something else. */
function lookUp(rootFd: number, dir: string, name: string): string {
  let fd: number;
  try {
    fd = openat2(rootFd, dir, {
      flags: O.PATH | O.DIRECTORY,
      resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS,
    });
  } catch (error) {
    if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP")) return "missing";
    throw error;
  }
  try {
    const stat = statxOrNull(fd, name);
    if (stat === null) return "missing";
    return (stat.mode & S.IFMT) === S.IFLNK ? readlinkat(fd, name).toString() || "." : "other";
  } finally {
    close(fd);
  }
}

/** Makes what is missing of a resolved target (resolveTarget): directories down to it, and itself. Each name is looked up
 *  in its parent's descriptor and no link is followed. Throws what openat2(2) says of a path that cannot be made. */
export function makeTarget(rootFd: number, target: string, isFile: boolean): void {
  const parts = target.split("/").filter((part) => part !== "");
  let parent = rootFd;
  try {
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1;
      if (statxOrNull(parent, part) === null) {
        if (isFile && isLast) mknodat(parent, part, S.IFREG | 0o644);
        else mkdirat(parent, part, 0o755);
        // Whatever the umask of this process is: a step may keep the directory by leaving something in it.
        fchmodat(parent, part, isFile && isLast ? 0o644 : 0o755);
      }
      if (isLast) return;
      const next = openat2(parent, part, {
        flags: O.PATH | O.DIRECTORY | O.NOFOLLOW,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      });
      if (parent !== rootFd) close(parent);
      parent = next;
    }
  } finally {
    if (parent !== rootFd) close(parent);
  }
}
