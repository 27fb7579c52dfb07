// [keeper] Trees by descriptor: each directory is opened from its parent without following links, so no name is ever
// resolved outside the root, whatever else changes meanwhile (threat model P1, P2, P9).
import { idMapKind, notedOwner } from "../../cache/layers/owner.js";
import { baseOf, LIVE_ROOT_MODE, nativePath, parentOf, textOf } from "../../cache/tree.js";
import { BuildError } from "../../solver/graph/error.js";
import { close, fgetxattr, flistxattr, fstat, lgetxattr, llistxattr, O, openat, procPath, readdir, readlinkat, S, statxOrNull, } from "../sys/file.js";
import { isSysError } from "../sys/libc.js";
/** `root` stays the caller's. */
export function openCursor(root) {
    const names = [];
    const fds = [];
    let current = "";
    const shrink = (depth) => {
        while (names.length > depth) {
            names.pop();
            close(fds.pop());
        }
    };
    return {
        at: (path) => {
            if (path !== current) {
                const parts = path === "" ? [] : path.split("/");
                let same = 0;
                while (same < parts.length && names[same] === parts[same])
                    same++;
                shrink(same);
                current = names.join("/");
                for (const part of parts.slice(same)) {
                    const parent = fds.at(-1) ?? root;
                    fds.push(openat(parent, nativePath(part), O.RDONLY | O.DIRECTORY | O.NOFOLLOW));
                    names.push(part);
                }
                current = path;
            }
            return fds.at(-1) ?? root;
        },
        forget: (path) => {
            if (current !== path && !current.startsWith(`${path}/`))
                return;
            shrink(path === "" ? 0 : path.split("/").length - 1);
            current = names.join("/");
        },
        close: () => {
            shrink(0);
            current = "";
        },
    };
}
/** The tree below a directory, whose descriptor is taken over and closed with it. `live`: files of the user (see TreeReader.live). */
export function fdTree(owned, { live }) {
    // Descriptors of mounts are O_PATH ones and cannot be read; the mount lives as long as its own is open.
    const root = openat(owned, ".", O.RDONLY | O.DIRECTORY);
    const cursor = openCursor(root);
    const decode = (stat, directory, name) => {
        const plain = toTreeStat(stat);
        if (live)
            return { ...plain, uid: 0, gid: 0 };
        // Only files and directories can hold a note, xattr(7).
        if (!MAY_HOLD_NOTES || (plain.type !== "file" && plain.type !== "directory"))
            return plain;
        return { ...plain, ...notedOwner(procPath(directory, nativePath(name))) };
    };
    const lstat = (path) => {
        if (path === "") {
            const stat = decode(fstat(root), root, ".");
            return live ? { ...stat, mode: LIVE_ROOT_MODE } : stat;
        }
        let directory;
        try {
            directory = cursor.at(parentOf(path));
        }
        catch (error) {
            if (isSysError(error, "ENOENT", "ENOTDIR", "ELOOP"))
                return null;
            throw error;
        }
        const name = baseOf(path);
        const stat = statxOrNull(directory, nativePath(name));
        return stat === null ? null : decode(stat, directory, name);
    };
    return {
        root,
        cursor,
        live,
        lstat,
        children: (path) => {
            const directory = cursor.at(path);
            const names = readdir(directory).map((entry) => entry.name.toString("latin1"));
            names.sort((a, b) => (a < b ? -1 : 1));
            const children = [];
            for (const name of names) {
                const stat = statxOrNull(directory, nativePath(name));
                if (stat !== null)
                    children.push({ name, stat: decode(stat, directory, name) });
            }
            return children;
        },
        readlink: (path) => readlinkat(cursor.at(parentOf(path)), nativePath(baseOf(path))).toString("latin1"),
        open: (path) => openRegular(cursor.at(parentOf(path)), path),
        xattrs: (path) => (live ? [] : xattrsOf(path === "" ? root : cursor.at(parentOf(path)), path)),
        hiddenBy: () => null,
        knownDigest: () => null,
        close: () => {
            cursor.close();
            close(root);
            close(owned);
        },
    };
}
/** Outside user namespaces the kernel holds all owners. It cannot change while the process lives. */
const MAY_HOLD_NOTES = idMapKind() !== "host";
/** An empty tree: scratch. */
export function emptyTree() {
    const root = { ...NO_STAT };
    return {
        live: false,
        lstat: (path) => (path === "" ? root : null),
        children: () => [],
        readlink: () => "",
        open: (path) => {
            throw new Error(`no file ${path} in an empty tree`);
        },
        xattrs: () => [],
        hiddenBy: () => null,
        knownDigest: () => null,
    };
}
const NO_STAT = {
    type: "directory",
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    nlink: 2,
    dev: 0,
    ino: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
    rdevMajor: 0,
    rdevMinor: 0,
};
/** A regular file and nothing else: links are refused, a FIFO neither blocks nor is read. */
function openRegular(directory, path) {
    const fd = openat(directory, nativePath(baseOf(path)), O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
    if ((fstat(fd).mode & S.IFMT) === S.IFREG)
        return fd;
    close(fd);
    throw new BuildError("CONTEXT_CHANGED", `"${textOf(path)}" changed while it was read: not a file any more`);
}
/** Attributes that mean something to a mount or to us are no content (threat model T5); labels belong to the host. */
export function isContentXattr(name) {
    return !/^(?:(?:trusted|user)\.overlay\.|user\.tsbuild\.|security\.(?:selinux|ima|evm|apparmor)$)/.test(name);
}
function xattrsOf(directory, path) {
    // A link or special file cannot be opened, and there is no *at form before Linux 6.13: the last name is looked up
    // below the directory's descriptor, without following.
    const target = path === "" ? procPath(directory, ".") : procPath(directory, nativePath(baseOf(path)));
    const found = [];
    for (const name of llistxattr(target).filter(isContentXattr).sort()) {
        const value = lgetxattr(target, name);
        if (value !== null)
            found.push([name, value]);
    }
    return found;
}
/** Content attributes of an open file or directory. */
export function fileXattrs(fd) {
    const found = [];
    for (const name of flistxattr(fd)) {
        if (!isContentXattr(name))
            continue;
        const value = fgetxattr(fd, name);
        if (value !== null)
            found.push([name, value]);
    }
    return found;
}
export function toTreeStat(stat) {
    return {
        type: TYPES[stat.mode & S.IFMT] ?? "file",
        mode: stat.mode & S.PERM,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        nlink: stat.nlink,
        dev: stat.dev,
        ino: stat.ino,
        mtimeNs: stat.mtimeNs,
        ctimeNs: stat.ctimeNs,
        rdevMajor: stat.rdevMajor,
        rdevMinor: stat.rdevMinor,
    };
}
const TYPES = {
    [S.IFREG]: "file",
    [S.IFDIR]: "directory",
    [S.IFLNK]: "symlink",
    [S.IFIFO]: "fifo",
    [S.IFSOCK]: "socket",
    [S.IFCHR]: "character",
    [S.IFBLK]: "block",
};
/** Mode with type bits for mknodat(2). */
export function typeBits(type) {
    switch (type) {
        case "file":
            return S.IFREG;
        case "directory":
            return S.IFDIR;
        case "symlink":
            return S.IFLNK;
        case "fifo":
            return S.IFIFO;
        case "socket":
            return S.IFSOCK;
        case "character":
            return S.IFCHR;
        case "block":
            return S.IFBLK;
    }
}
//# sourceMappingURL=fd-tree.js.map