// A live directory (the build context) as a tree, with Node's synchronous calls: the front reads it without loading any
// native code. Measured on 20,000 files: walk and lstat 0.13 s.
//
// The directory belongs to the user and may change or lie while it is read. Nothing here is trusted further than a
// cache key: what is copied is read again by the keeper through descriptors, and hashed as it is copied.
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readlinkSync, } from "node:fs";
import { BuildError } from "../solver/graph/error.js";
import { bytesOf, LIVE_ROOT_MODE, nativePath, textOf, } from "./tree.js";
/** Reads the directory at `root` (absolute). `known` answers from a stat cache. */
export function liveTree(root, known) {
    const rootBytes = bytesOf(root.endsWith("/") ? root.slice(0, -1) : root);
    const at = (path) => nativePath(path === "" ? rootBytes || "/" : `${rootBytes}/${path}`);
    const lstat = (path) => {
        // The root may be reached by a link (a context named by one); below it links are never followed.
        const stats = lstatSync(path === "" ? nativePath(`${rootBytes}/.`) : at(path), QUIET);
        if (stats === undefined)
            return null;
        return path === "" ? { ...decode(stats), mode: LIVE_ROOT_MODE } : decode(stats);
    };
    return {
        live: true,
        lstat,
        children: (path) => {
            const names = readdirSync(at(path), { encoding: "latin1" }).sort(compareBytes);
            const children = [];
            for (const name of names) {
                const stat = lstat(path === "" ? name : `${path}/${name}`);
                if (stat !== null)
                    children.push({ name, stat }); // gone meanwhile: as if it had never been
            }
            return children;
        },
        readlink: (path) => readlinkSync(at(path), "latin1"),
        open: (path) => openRegular(at(path), path),
        xattrs: () => [],
        hiddenBy: () => null,
        knownDigest: known,
    };
}
const QUIET = { bigint: true, throwIfNoEntry: false };
/** Opens a regular file and nothing else: a link is refused, a FIFO neither blocks nor is read. */
export function openRegular(native, shown) {
    const fd = openSync(native, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
    if (fstatSync(fd).isFile())
        return fd;
    closeSync(fd);
    throw new BuildError("CONTEXT_CHANGED", `${JSON.stringify(textOf(shown))} changed while it was read: not a file any more`);
}
function compareBytes(a, b) {
    return a < b ? -1 : a > b ? 1 : 0;
}
function decode(stats) {
    const mode = Number(stats.mode);
    return {
        type: TYPES[mode & constants.S_IFMT] ?? "file",
        mode: mode & 0o7777,
        uid: 0,
        gid: 0,
        size: Number(stats.size),
        nlink: Number(stats.nlink),
        dev: Number(stats.dev),
        ino: stats.ino,
        mtimeNs: stats.mtimeNs,
        ctimeNs: stats.ctimeNs,
        // Linux dev_t, makedev(3)
        rdevMajor: Number(((stats.rdev >> 8n) & 0xfffn) | ((stats.rdev >> 32n) & 0xfffff000n)),
        rdevMinor: Number((stats.rdev & 0xffn) | ((stats.rdev >> 12n) & 0xffffff00n)),
    };
}
const TYPES = {
    [constants.S_IFREG]: "file",
    [constants.S_IFDIR]: "directory",
    [constants.S_IFLNK]: "symlink",
    [constants.S_IFIFO]: "fifo",
    [constants.S_IFSOCK]: "socket",
    [constants.S_IFCHR]: "character",
    [constants.S_IFBLK]: "block",
};
//# sourceMappingURL=tree-live.js.map