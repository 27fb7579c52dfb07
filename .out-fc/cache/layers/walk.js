// Walks a tree by descriptors: nothing is followed, names stay bytes, any depth works with few descriptors open.
import { AT, close, fstat, O, openat, readdir, S, statx } from "../../worker/sys/file.js";
/** Flags that open a directory by a name that is not a link. */
export const DIRECTORY = O.RDONLY | O.DIRECTORY | O.NOFOLLOW;
/** Descriptors a walk keeps open. The way back from deeper levels goes by "..". */
const OPEN_LEVELS = 64;
/** Entries below `root` (a descriptor that stays the caller's), in the order of their bytes within each directory.
 *  `open` opens a directory to be walked. The tree must not change but by the caller, who may remove what was visited.
 *  Throws SysError. */
export function* walkTree(root, open = (dirfd, name) => openat(dirfd, name, DIRECTORY)) {
    const levels = [level(openat(root, ".", DIRECTORY), null)];
    try {
        for (;;) {
            const top = levels.at(-1);
            const dirfd = top.fd;
            const name = top.names[top.at++];
            if (name !== undefined) {
                const stat = statx(dirfd, name, AT.SYMLINK_NOFOLLOW);
                const above = top.visit === null ? null : top.visit.path;
                const path = above === null ? name : Buffer.concat([above, SLASH, name]);
                yield { phase: "enter", dirfd, name, path, stat };
                if ((stat.mode & S.IFMT) !== S.IFDIR)
                    continue;
                levels.push(level(open(dirfd, name), { name, path, stat }));
                const far = levels[levels.length - 1 - OPEN_LEVELS];
                if (far !== undefined && far.fd !== null) {
                    close(far.fd);
                    far.fd = null;
                }
                continue;
            }
            const up = levels.at(-2);
            if (up === undefined)
                return;
            up.fd ??= openParent(dirfd, up);
            close(dirfd);
            levels.pop();
            if (top.visit !== null)
                yield { phase: "leave", dirfd: up.fd, ...top.visit };
        }
    }
    finally {
        for (const { fd } of levels)
            if (fd !== null)
                close(fd);
    }
}
const SLASH = Buffer.from("/");
function level(fd, visit) {
    try {
        const names = readdir(fd)
            .map((entry) => entry.name)
            .sort(Buffer.compare);
        const { ino, dev } = visit?.stat ?? fstat(fd);
        return { fd, names, at: 0, visit, ino, dev };
    }
    catch (error) {
        close(fd);
        throw error;
    }
}
function openParent(fd, expected) {
    const parent = openat(fd, "..", DIRECTORY);
    const { ino, dev } = fstat(parent);
    if (ino === expected.ino && dev === expected.dev)
        return parent;
    close(parent);
    throw new Error("a directory was moved while its tree was walked");
}
//# sourceMappingURL=walk.js.map