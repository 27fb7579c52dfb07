// Mounts by descriptor: the calls of mount_api(7) and the overlay stack made with them.
//
// A mount made here is detached: it has no place in any tree until moveMount gives it one, and the kernel drops it with
// its last descriptor. A crash leaves nothing to unmount.
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AT, close, O, openat } from "./file.js";
import { bind, bindSyscall, check, cpath, cstring, isSysError, NR, showPath } from "./libc.js";
const cFsopen = bindSyscall(NR.fsopen, ["ptr", "int"]);
const cFsconfig = bindSyscall(NR.fsconfig, ["int", "int", "ptr", "ptr", "int"]);
const cFsmount = bindSyscall(NR.fsmount, ["int", "int", "int"]);
const cMoveMount = bindSyscall(NR.moveMount, ["int", "ptr", "int", "ptr", "int"]);
const cOpenTree = bindSyscall(NR.openTree, ["int", "ptr", "int"]);
const cMountSetattr = bindSyscall(NR.mountSetattr, ["int", "ptr", "int", "ptr", "int64"]);
const cMount = bind("mount", "int", ["ptr", "ptr", "ptr", "int64", "ptr"]);
const cUmount2 = bind("umount2", "int", ["ptr", "int"]);
/** Attributes of fsmount(2) and mount_setattr(2). */
export const MOUNT_ATTR = { RDONLY: 0x01, NOSUID: 0x02, NODEV: 0x04, NOEXEC: 0x08, NOATIME: 0x10 };
/** Flags of open_tree(2). */
export const OPEN_TREE = { CLONE: 0x1 };
/** Flags of move_mount(2). */
export const MOVE_MOUNT = { F_EMPTY_PATH: 0x04, T_SYMLINKS: 0x10, T_EMPTY_PATH: 0x40 };
/** Flags of umount2(2). */
export const UMOUNT = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 };
/** Propagation for mountSetattr. */
export const PROPAGATION = { PRIVATE: 0x40000, SLAVE: 0x80000, SHARED: 0x100000 };
const FSCONFIG = { SET_FLAG: 0, SET_STRING: 1, CMD_CREATE: 6 };
/** fsopen(2): a configuration context for a file system of this type. */
export function fsopen(type) {
    return check("fsopen", cFsopen(cpath(type), 1 /* FSOPEN_CLOEXEC */), type);
}
/** fsconfig(2), FSCONFIG_SET_STRING. Values are at most 255 bytes. */
export function fsconfigString(fd, key, value) {
    check("fsconfig", cFsconfig(fd, FSCONFIG.SET_STRING, cpath(key, 0), cstring(value), 0), `${key}=${showPath(value)}`);
}
/** fsconfig(2), FSCONFIG_SET_FLAG. */
export function fsconfigFlag(fd, key) {
    check("fsconfig", cFsconfig(fd, FSCONFIG.SET_FLAG, cpath(key), null, 0), key);
}
/** fsconfig(2), FSCONFIG_CMD_CREATE: makes the superblock. */
export function fsconfigCreate(fd) {
    check("fsconfig", cFsconfig(fd, FSCONFIG.CMD_CREATE, null, null, 0), "create");
}
/** fsmount(2): a detached mount of the created superblock. */
export function fsmount(fd, attributes = 0) {
    return check("fsmount", cFsmount(fd, 1 /* FSMOUNT_CLOEXEC */, attributes));
}
/** open_tree(2). With OPEN_TREE.CLONE a detached bind mount, else just a descriptor. */
export function openTree(dirfd, path, flags) {
    return check("open_tree", cOpenTree(dirfd, cpath(path), flags | O.CLOEXEC), path);
}
/** move_mount(2): gives a detached mount (from, "" with F_EMPTY_PATH) a place. */
export function moveMount(fromFd, fromPath, toFd, toPath, flags) {
    check("move_mount", cMoveMount(fromFd, cpath(fromPath, 0), toFd, cpath(toPath, 1), flags), toPath);
}
/** mount_setattr(2), since Linux 5.12. */
export function mountSetattr(dirfd, path, flags, change) {
    // struct mount_attr { u64 attr_set, attr_clr, propagation, userns_fd; }
    const attributes = Buffer.alloc(32);
    attributes.writeUInt32LE(change.set ?? 0, 0);
    attributes.writeUInt32LE(change.clear ?? 0, 8);
    attributes.writeUInt32LE(change.propagation ?? 0, 16);
    check("mount_setattr", cMountSetattr(dirfd, cpath(path), flags, attributes, attributes.length), path);
}
/** umount2(2). */
export function umount2(path, flags) {
    check("umount2", cUmount2(cpath(path), flags), path);
}
/** Mounts stacked layers; returns a descriptor of the detached mount's root, to be closed by the caller.
 *
 *  Overlay wants at least two layers when it has no upper: one layer alone is a read-only bind of its directory (it is
 *  the oldest, so it can hold no whiteout that means something), an upper alone a bind of that, no layer at all fails. */
export function overlayMount(spec) {
    const { lowers, upper, work } = spec;
    if (upper === undefined) {
        if (lowers.length === 0)
            throw new Error("overlayMount: no layers");
        if (lowers.length === 1)
            return bindClone(lowers[0], true);
    }
    else if (lowers.length === 0) {
        return bindClone(upper, false);
    }
    else if (work === undefined) {
        throw new Error("overlayMount: an upper needs a work directory");
    }
    // Options name directories as /proc/self/fd/N: an fsconfig value has at most 255 bytes, a store may lie deeper.
    const held = [];
    const hold = (path) => {
        const fd = openat(AT.FDCWD, path, O.PATH | O.DIRECTORY);
        held.push(fd);
        return `/proc/self/fd/${fd}`;
    };
    try {
        const stack = {
            lowers: lowers.map(hold).reverse(), // the kernel counts from the newest
            changes: upper === undefined || work === undefined ? null : { upper: hold(upper), work: hold(work) },
            flags: [
                ...(spec.userxattr ? ["userxattr"] : []),
                ...(spec.volatile && upper !== undefined ? ["volatile"] : []),
            ],
        };
        return mountByParts(stack) ?? mountByText(stack);
    }
    finally {
        for (const fd of held)
            close(fd);
    }
}
/** With one "lowerdir+" for each layer, so that the stack is not limited to a page of text. Null before Linux 6.5. */
function mountByParts(stack) {
    const context = fsopen("overlay");
    try {
        for (const [index, lower] of stack.lowers.entries()) {
            try {
                fsconfigString(context, "lowerdir+", lower);
            }
            catch (error) {
                if (index === 0 && isSysError(error, "EINVAL"))
                    return null;
                throw error;
            }
        }
        if (stack.changes !== null) {
            fsconfigString(context, "upperdir", stack.changes.upper);
            fsconfigString(context, "workdir", stack.changes.work);
        }
        for (const flag of stack.flags)
            fsconfigFlag(context, flag);
        fsconfigCreate(context);
        return fsmount(context, stack.changes === null ? MOUNT_ATTR.RDONLY : 0);
    }
    finally {
        close(context);
    }
}
/** With mount(2): one page of options holds some two hundred layers. The mount is cloned and its place given up at
 *  once; the caller's mount namespace is its own and private, so nobody else sees it. */
function mountByText(stack) {
    const options = [
        `lowerdir=${stack.lowers.join(":")}`,
        ...(stack.changes === null ? [] : [`upperdir=${stack.changes.upper}`, `workdir=${stack.changes.work}`]),
        ...stack.flags,
    ].join(",");
    const place = mkdtempSync(join(tmpdir(), "tsbuild-mount-"));
    try {
        const flags = stack.changes === null ? MOUNT_ATTR.RDONLY : 0; // MS_RDONLY is the same bit
        check("mount", cMount(cstring("overlay"), cstring(place), cstring("overlay"), flags, cstring(options)), options);
        try {
            return openTree(AT.FDCWD, place, OPEN_TREE.CLONE);
        }
        finally {
            umount2(place, UMOUNT.DETACH);
        }
    }
    finally {
        rmdirSync(place);
    }
}
/** A detached bind mount of one directory. */
function bindClone(path, readonly) {
    const mount = openTree(AT.FDCWD, path, OPEN_TREE.CLONE);
    if (!readonly)
        return mount;
    try {
        mountSetattr(mount, "", AT.EMPTY_PATH, { set: MOUNT_ATTR.RDONLY });
        return mount;
    }
    catch (error) {
        close(mount);
        throw error;
    }
}
//# sourceMappingURL=mount.js.map