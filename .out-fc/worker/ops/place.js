// [keeper] The tree a file op writes to: every change is made on a descriptor of the directory it happens in, below one
// root (threat model P1 to P5).
import { writeSync } from "node:fs";
import { OWNER_XATTR, setOwner } from "../../cache/layers/owner.js";
import { baseOf, cleanPath, joinPath, nativePath, parentOf, resolvePath, textOf } from "../../cache/tree.js";
import { BuildError } from "../../solver/graph/error.js";
import { AT, close, DT, fchmod, fchmodat, fchownat, fsetxattr, linkat, lsetxattr, mkdirat, mknodat, O, openat, procPath, readdir, S, statxOrNull, symlinkat, unlinkat, utimensat, } from "../sys/file.js";
import { isSysError } from "../sys/libc.js";
import { fdTree, openCursor } from "./fd-tree.js";
/** `mount` (the root of the layers with a writable top) is taken over and closed with the place. */
export function openPlace(mount, { singleId }) {
    const tree = fdTree(mount, { live: false });
    const { cursor, root } = tree;
    const linkCursor = openCursor(root);
    const at = (path) => cursor.at(parentOf(path));
    const nameOf = (path) => nativePath(baseOf(path));
    const makeRoom = (path) => {
        const stat = statxOrNull(at(path), nameOf(path));
        if (stat === null)
            return;
        if ((stat.mode & S.IFMT) === S.IFDIR) {
            throw new BuildError("COPY_FAILED", `cannot replace to directory ${shown(path)} with file`);
        }
        unlinkat(at(path), nameOf(path));
    };
    /** Tries, and only when something is there already makes room: most targets are new. */
    const replacing = (path, make) => {
        try {
            return make();
        }
        catch (error) {
            if (!isSysError(error, "EEXIST"))
                throw error;
            makeRoom(path);
            return make();
        }
    };
    const dress = (path, look, kind) => {
        const directory = path === "" ? root : at(path);
        const name = path === "" ? "." : nameOf(path);
        setOwner(directory, name, look.owner.uid, look.owner.gid, { singleId });
        if (kind !== "symlink")
            fchmodat(directory, name, look.mode);
        for (const [key, value] of look.xattrs)
            setXattr(() => lsetxattr(procPath(directory, name), key, value));
        if (look.mtimeNs !== null)
            utimensat(directory, name, look.mtimeNs, look.mtimeNs, AT.SYMLINK_NOFOLLOW);
    };
    return {
        tree,
        resolve: (path) => resolvePath(tree, path, true),
        makeParents: (path, look) => {
            const made = [];
            let here = "";
            for (const part of path === "" ? [] : path.split("/")) {
                here = joinPath(here, part);
                const stat = statxOrNull(at(here), nativePath(part));
                if (stat === null) {
                    mkdirat(at(here), nativePath(part), 0o700);
                    dress(here, { ...look, xattrs: [] }, "directory");
                    made.push(here);
                }
                else if ((stat.mode & S.IFMT) !== S.IFDIR) {
                    throw new BuildError("COPY_FAILED", `mkdir ${shown(here)}: not a directory`);
                }
            }
            return made;
        },
        makeDirectory: (path) => mkdirat(at(path), nameOf(path), 0o700),
        createFile: (path) => replacing(path, () => openat(at(path), nameOf(path), O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600)),
        makeSymlink: (path, target) => replacing(path, () => symlinkat(nativePath(target), at(path), nameOf(path))),
        makeNode: (path, mode, device) => replacing(path, () => mknodat(at(path), nameOf(path), mode, device)),
        link: (from, path) => replacing(path, () => linkat(linkCursor.at(parentOf(from)), nameOf(from), at(path), nameOf(path))),
        remove: (path) => {
            if (path === "")
                throw new BuildError("COPY_FAILED", "the root directory cannot be removed");
            let directory;
            try {
                directory = at(path);
            }
            catch (error) {
                if (isSysError(error, "ENOENT", "ENOTDIR"))
                    return false;
                throw error;
            }
            if (statxOrNull(directory, nameOf(path)) === null)
                return false;
            cursor.forget(path);
            linkCursor.forget(path);
            removeTree(directory, nameOf(path));
            return true;
        },
        dress,
        chmodDirectory: (path, mode) => fchmod(cursor.at(path), mode),
        setTime: (path, mtimeNs) => utimensat(cursor.at(path), null, mtimeNs, mtimeNs),
        forgetDirectories: () => {
            linkCursor.close();
            cursor.close();
        },
        close: () => {
            linkCursor.close();
            tree.close();
        },
    };
}
/** Gives an open, just written file its look. */
export function dressFile(fd, look, idMode) {
    // Owner first: chown(2) takes set-id bits and capabilities away.
    setFileOwner(fd, look.owner, idMode);
    fchmod(fd, look.mode);
    for (const [key, value] of look.xattrs)
        setXattr(() => fsetxattr(fd, key, value));
    if (look.mtimeNs !== null)
        utimensat(fd, null, look.mtimeNs, look.mtimeNs);
}
/** The owner of an open file that was just made. */
export function setFileOwner(fd, { uid, gid }, { singleId }) {
    if (!singleId) {
        try {
            fchownat(fd, "", uid, gid, AT.EMPTY_PATH);
            return;
        }
        catch (error) {
            if (!isSysError(error, "EINVAL"))
                throw error; // EINVAL: an id without a mapping
        }
    }
    if (uid !== 0 || gid !== 0)
        fsetxattr(fd, OWNER_XATTR, Buffer.from(`${uid}:${gid}`));
}
/** Attributes a file system or an unprivileged user cannot have are left out, as BuildKit does. */
function setXattr(set) {
    try {
        set();
    }
    catch (error) {
        if (!isSysError(error, "EPERM", "EOPNOTSUPP", "EINVAL"))
            throw error;
    }
}
/** unlinkat(2) of a tree by descriptors; links are removed, never followed. */
export function removeTree(directory, name) {
    try {
        unlinkat(directory, name);
        return;
    }
    catch (error) {
        // Directories: Linux says EISDIR, POSIX EPERM.
        if (!isSysError(error, "EISDIR", "EPERM"))
            throw error;
    }
    const fd = openat(directory, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    try {
        for (const entry of readdir(fd)) {
            if (entry.type === DT.DIR || entry.type === DT.UNKNOWN)
                removeTree(fd, entry.name);
            else
                unlinkat(fd, entry.name);
        }
    }
    finally {
        close(fd);
    }
    unlinkat(directory, name, AT.REMOVEDIR);
}
/** Writes all of the bytes. */
export function writeFully(fd, bytes) {
    for (let done = 0; done < bytes.length;)
        done += writeSync(fd, bytes, done);
}
/** A path of the image for a message. */
export function shown(path) {
    return `/${textOf(cleanPath(path))}`;
}
//# sourceMappingURL=place.js.map