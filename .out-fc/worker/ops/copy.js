// [keeper] COPY and ADD: what goes where, with the rules of BuildKit's fsutil/copy.
import { contentWithoutReading, EMPTY, foldSelection } from "../../cache/path-hash.js";
import { bytesOf, joinPath, parentOf, resolvePath, } from "../../cache/tree.js";
import { copySelector, findMatches, missing, walkMatch, } from "../../cache/tree-select.js";
import { BuildError } from "../../solver/graph/error.js";
import { close } from "../sys/file.js";
import { typeBits } from "./fd-tree.js";
import { parseMode } from "./mode.js";
import { ROOT } from "./owner.js";
import { dressFile, shown } from "./place.js";
import { copyFile, readContent } from "./transfer.js";
/** Runs one copy action. Returns the digest of what was read when the source is live (the form of selectDigest's parts),
 *  else null. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export async function runCopy(action, context) {
    const { source, place } = context;
    const selector = copySelector(action);
    for (const required of action.requiredPaths) {
        const wanted = joinPath(bytesOf(action.src), bytesOf(required)); // relative to the source, as include patterns are
        const path = resolvePath(source, wanted, true);
        if (source.lstat(path) === null)
            throw missing(source, wanted, path);
    }
    const dest = bytesOf(action.dest);
    if (!action.createDestPath) {
        const parent = parentOf(place.resolve(dest));
        if (place.tree.lstat(parent) === null) {
            throw new BuildError("COPY_FAILED", `failed to stat ${action.dest}: no such file or directory`);
        }
    }
    const matches = findMatches(source, selector);
    if (matches.length === 0 && action.allowWildcard && !action.allowEmptyWildcard) {
        throw new BuildError("CONTEXT_PATH_MISSING", `${action.src} not found`);
    }
    const fold = source.live ? foldSelection(selector) : null;
    const looks = looksOf(action, context);
    for (const match of matches) {
        fold?.match(match);
        if (action.attemptUnpack && match.stat.type === "file") {
            const directory = place.resolve(dest);
            // Nothing is made at the destination for what turns out to be no archive.
            if (await context.unpack(match, directory, { ...looks.made, mode: 0o755 })) {
                foldWhole(source, match, action, fold);
                continue;
            }
        }
        copyEntries(match, prepareTarget(match, action, place, looks, dest), { action, context, looks, fold });
    }
    return fold?.digest() ?? null;
}
/** Copies what is below a directory of the source, or one file, into a directory or file of the place as it is. For the
 *  digest see runCopy. */
export function copySubtree(match, target, context) {
    const { source } = context;
    const fold = source.live ? foldSelection({ kind: "subtree", path: match.path }) : null;
    fold?.match(match);
    const looks = looksOf(AS_IT_IS, { owner: null, madeTimeNs: null });
    copyEntries(match, target, { action: AS_IT_IS, context, looks, fold });
    return fold?.digest() ?? null;
}
const AS_IT_IS = {
    mode: null,
    modeStr: "",
    timestampNs: null,
    includePatterns: [],
    excludePatterns: [],
    alwaysReplaceExistingDestPaths: false,
};
function looksOf(action, context) {
    const change = action.modeStr !== "" ? parseMode(action.modeStr) : null;
    const { mode } = action;
    return {
        made: {
            owner: context.owner ?? ROOT,
            // A number counts for these directories too, a symbolic mode does not; special bits never do.
            mode: change === null && mode !== null ? mode & 0o777 : 0o755,
            mtimeNs: action.timestampNs ?? context.madeTimeNs,
        },
        of: (stat) => ({
            owner: context.owner ?? stat,
            mode: change !== null
                ? change(stat.mode, stat.type === "directory")
                : mode !== null
                    ? mode & 0o7777
                    : stat.mode,
            mtimeNs: action.timestampNs ?? stat.mtimeNs,
        }),
    };
}
/** Copies one source with all that is chosen below it. */
function copyEntries(match, target, copying) {
    const { action, context, looks, fold } = copying;
    const { source, place } = context;
    // Hard links are kept within one source.
    const linked = new Map();
    const made = new Set();
    const enter = (entry) => {
        const path = joinPath(target, entry.relative);
        const { stat } = entry;
        if (action.alwaysReplaceExistingDestPaths && !entry.isWay && !made.has(parentOf(path))) {
            const there = path === "" ? null : place.tree.lstat(path);
            if (there !== null && !(there.type === "directory" && stat.type === "directory"))
                place.remove(path);
        }
        if (stat.type === "directory") {
            if (enterDirectory(path))
                made.add(path);
            fold?.entry(entry, { kind: "none" }, source.xattrs(entry.path));
            return;
        }
        const content = copyOther(path, entry);
        fold?.entry(entry, content, source.live ? [] : source.xattrs(entry.path));
    };
    /** True: it was made. */
    const enterDirectory = (path) => {
        const there = place.tree.lstat(path);
        if (there === null) {
            place.makeDirectory(path);
            return true;
        }
        if (there.type !== "directory") {
            throw new BuildError("COPY_FAILED", `cannot copy to non-directory: ${shown(path)}`);
        }
        return false;
    };
    const leave = (entry) => {
        const path = joinPath(target, entry.relative);
        const look = looks.of(entry.stat);
        if (made.has(path) || (entry.relative !== "" && !entry.isWay)) {
            place.dress(path, { ...look, xattrs: source.xattrs(entry.path) }, "directory");
        }
        else if (entry.isWay) {
            place.chmodDirectory(path, entry.stat.mode);
        }
        else if (look.mtimeNs !== null) {
            // The destination itself was there: it keeps its owner and mode.
            place.setTime(path, look.mtimeNs);
        }
    };
    const copyOther = (path, entry) => {
        const { stat } = entry;
        const look = looks.of(stat);
        const dress = () => {
            const kind = stat.type === "symlink" ? "symlink" : "other";
            place.dress(path, { ...look, xattrs: source.xattrs(entry.path) }, kind);
        };
        switch (stat.type) {
            case "file": {
                const inode = stat.nlink > 1 ? `${stat.dev}:${stat.ino}` : null;
                const first = inode === null ? undefined : linked.get(inode);
                if (first !== undefined) {
                    place.link(first.path, path);
                    return first.content;
                }
                const content = copyFile(source, entry, place.createFile(path), look, context.idMode);
                if (inode !== null)
                    linked.set(inode, { path, content });
                return content;
            }
            case "symlink": {
                const link = source.readlink(entry.path);
                place.makeSymlink(path, link);
                dress();
                return { kind: "link", target: link };
            }
            case "socket":
                if (source.live) {
                    const fd = place.createFile(path);
                    try {
                        dressFile(fd, { ...look, xattrs: [] }, context.idMode);
                    }
                    finally {
                        close(fd);
                    }
                    return { kind: "file", digest: EMPTY, size: 0 };
                }
                break;
            case "fifo":
            case "character":
            case "block":
            case "directory":
                break;
        }
        place.makeNode(path, typeBits(stat.type) | 0o600, { major: stat.rdevMajor, minor: stat.rdevMinor });
        dress();
        return { kind: "none" };
    };
    walkMatch(source, match, action, { enter, leave });
}
/** Where a source goes: decides between "into the directory" and "as this name", and makes what is missing above. */
function prepareTarget(match, action, place, looks, dest) {
    const isDirectory = match.stat.type === "directory";
    // "/a/b/" makes b, "/a/b" only a.
    const last = dest.slice(dest.lastIndexOf("/") + 1);
    const ensured = last !== "" && last !== "." ? dest.slice(0, dest.length - last.length) : dest;
    if (ensured !== "")
        place.makeParents(place.resolve(ensured), looks.made);
    let target = place.resolve(dest);
    const there = place.tree.lstat(target);
    if (there !== null && (isDirectory ? !action.dirCopyContents : there.type === "directory")) {
        target = joinPath(target, match.name);
    }
    const isContentsToNew = action.dirCopyContents && isDirectory && there === null;
    place.makeParents(isContentsToNew ? target : parentOf(target), looks.made);
    return target;
}
/** Feeds the fold with a source that went somewhere else than into a copy. */
function foldWhole(source, match, action, fold) {
    if (fold === null)
        return;
    walkMatch(source, match, action, {
        enter: (entry) => {
            const content = contentWithoutReading(source, entry) ?? readContent(source, entry);
            fold.entry(entry, content, source.xattrs(entry.path));
        },
    });
}
//# sourceMappingURL=copy.js.map