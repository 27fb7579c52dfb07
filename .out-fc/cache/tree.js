// A file tree that can be read: what path selection, hashing and copying have in common for live directories (the build
// context) and for mounted layers.
//
// Names are bytes, not text (threat model T7). Inside this room a path is a *byte string*: one char per byte. Such
// strings compare and sort as their bytes do, and cost nothing where a name is ASCII.
import { BuildError } from "../solver/graph/error.js";
/** Mode the root of a live tree is seen with: how a user's own directory is protected is no part of a build. */
export const LIVE_ROOT_MODE = 0o755;
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant
const ASCII = /^[\x00-\x7f]*$/; // oxlint-disable-line no-control-regex
/** Byte string to text; bytes that are not UTF-8 become U+FFFD, as Go's matcher sees them. */
export function textOf(bytes) {
    return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1").toString("utf8");
}
/** Text to byte string (UTF-8). */
export function bytesOf(text) {
    return ASCII.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}
/** A path for system calls: ASCII as it is, else the bytes. */
export function nativePath(bytes) {
    return ASCII.test(bytes) ? bytes : Buffer.from(bytes, "latin1");
}
/** Lexical form without "", "." and ".." (which stops at the root), relative: what Go's path.Join("/", p) gives, without
 *  its slash. Says where a path points when it has no links; it decides nothing about safety. */
export function cleanPath(path) {
    const parts = [];
    for (const part of path.split("/")) {
        if (part === "" || part === ".")
            continue;
        if (part === "..")
            parts.pop();
        else
            parts.push(part);
    }
    return parts.join("/");
}
export function joinPath(directory, name) {
    if (directory === "")
        return name;
    return name === "" ? directory : `${directory}/${name}`;
}
export function parentOf(path) {
    const slash = path.lastIndexOf("/");
    return slash < 0 ? "" : path.slice(0, slash);
}
export function baseOf(path) {
    return path.slice(path.lastIndexOf("/") + 1);
}
/** As many links as BuildKit follows on one path. */
const LINKS_MAX = 255;
/** The path with all links resolved inside the tree; what does not exist is taken as it is written, as Go's
 *  continuity/fs.RootPath does. `followLast`: also a link in the last component. Throws COPY_FAILED on a loop. */
export function resolvePath(tree, path, followLast) {
    let links = 0;
    const done = [];
    const todo = path.split("/").reverse();
    while (todo.length > 0) {
        const part = todo.pop();
        if (part === "" || part === ".")
            continue;
        if (part === "..") {
            done.pop();
            continue;
        }
        done.push(part);
        const isLast = todo.every((rest) => rest === "" || rest === ".");
        if (isLast && !followLast)
            continue;
        const here = done.join("/");
        const stat = tree.lstat(here);
        if (stat === null || stat.type !== "symlink")
            continue;
        if (++links > LINKS_MAX) {
            throw new BuildError("COPY_FAILED", `"/${textOf(cleanPath(path))}": too many links`);
        }
        const target = tree.readlink(here);
        if (target.startsWith("/"))
            done.length = 0;
        else
            done.pop();
        todo.push(...target.split("/").reverse());
    }
    return done.join("/");
}
//# sourceMappingURL=tree.js.map