// [keeper] Where a mount goes when a link of the image leads to a place that does not exist yet.

import { close, O, openat2, readlinkat, RESOLVE, S, statxOrNull } from "../sys/file.ts";
import { isSysError } from "../sys/libc.ts";

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
