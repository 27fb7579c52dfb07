// Owners where the kernel may know only one user: without subordinate ids every file on disk is ours, and the owner it
// has in the image stands in an extended attribute beside it.
import { readFileSync } from "node:fs";
import { AT, fchownat, fsetxattr, lgetxattr, lremovexattr, lsetxattr, procPath, } from "../../worker/sys/file.js";
import { isSysError } from "../../worker/sys/libc.js";
/** "uid:gid" of a file whose owner the kernel could not take. Left out of images, applied when they are written. */
export const OWNER_XATTR = "user.tsbuild.owner";
/** What this process may do with ids: "host" (no user namespace), "mapped" (several ids) or "single" (only its own). */
export function idMapKind() {
    const ranges = readFileSync("/proc/self/uid_map", "latin1").trim().split("\n");
    const counts = ranges.map((line) => Number(line.trim().split(/\s+/)[2]));
    if (counts.some((count) => count === 0xffffffff))
        return "host";
    return counts.reduce((sum, count) => sum + count, 0) > 1 ? "mapped" : "single";
}
/** Gives `name` in the directory (or, with an empty name, the open file itself) an owner, never through a link. Where the kernel cannot (single-id mode, or an id
 *  that has no mapping: EINVAL of chown(2)) it is noted in OWNER_XATTR; links and special files hold no such attribute
 *  and stay ours. chown(2) clears set-id bits and capabilities: set those afterwards. Throws SysError. */
export function setOwner(dirfd, name, uid, gid, options) {
    if (!options.singleId) {
        try {
            fchownat(dirfd, name, uid, gid, name.length === 0 ? AT.EMPTY_PATH : AT.SYMLINK_NOFOLLOW);
            return;
        }
        catch (error) {
            if (!isSysError(error, "EINVAL"))
                throw error;
        }
    }
    const value = Buffer.from(`${uid}:${gid}`);
    try {
        if (name.length === 0)
            fsetxattr(dirfd, OWNER_XATTR, value);
        else if (uid === 0 && gid === 0)
            lremovexattr(procPath(dirfd, name), OWNER_XATTR);
        else
            lsetxattr(procPath(dirfd, name), OWNER_XATTR, value);
    }
    catch (error) {
        // ENODATA: there was none to remove. EPERM: user.* is for regular files and directories, xattr(7).
        if (!isSysError(error, "ENODATA", "EPERM", "EOPNOTSUPP"))
            throw error;
    }
}
/** The noted owner of a file by its path (last component not followed), or null when the kernel's is right. */
export function notedOwner(path) {
    const value = lgetxattr(path, OWNER_XATTR);
    const match = value === null ? null : /^([0-9]{1,10}):([0-9]{1,10})$/.exec(value.toString("latin1"));
    return match === null ? null : { uid: Number(match[1]), gid: Number(match[2]) };
}
//# sourceMappingURL=owner.js.map