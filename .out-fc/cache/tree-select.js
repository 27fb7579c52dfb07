// Which paths of a tree a selector picks: the sources of a COPY with BuildKit's rules (fsutil/copy), or a subtree.
// Hashing and copying walk by the same functions, so that a content key covers exactly what is copied.
import { BuildError } from "../solver/graph/error.js";
import { matchPath } from "../solver/graph/patterns.js";
import { baseOf, bytesOf, cleanPath, joinPath, resolvePath, textOf, } from "./tree.js";
import { makeFilter } from "./tree-filter.js";
/** The selector of what a copy action reads. Owner and mode of the sources count only where the action keeps them. */
export function copySelector(action) {
    return {
        kind: "copy",
        src: action.src,
        followSymlink: action.followSymlink,
        allowWildcard: action.allowWildcard,
        includePatterns: action.includePatterns,
        excludePatterns: action.excludePatterns,
        ignoreOwner: action.owner !== null,
        ignoreMode: action.mode !== null && action.modeStr === "",
    };
}
/** The sources of a copy, in order; none when a wildcard matches nothing. Throws CONTEXT_PATH_MISSING for a source that
 *  does not exist. */
export function findMatches(tree, selector) {
    const src = bytesOf(selector.src);
    const paths = selector.allowWildcard ? expandWildcards(tree, src, selector.followSymlink) : [src];
    return paths.map((asked) => {
        const path = resolvePath(tree, asked, selector.followSymlink);
        const stat = tree.lstat(path);
        if (stat === null)
            throw missing(tree, asked, path);
        return { path, name: baseOf(cleanPath(asked)), stat };
    });
}
/** The error for a path that is not in a tree, in BuildKit's words; says so when an ignore rule hides it. */
export function missing(tree, asked, resolved) {
    const shown = `/${textOf(cleanPath(asked))}`;
    const rule = tree.hiddenBy(resolved);
    return new BuildError("CONTEXT_PATH_MISSING", `failed to calculate checksum of ref: ${JSON.stringify(shown)}: not found`, {
        hint: rule === null
            ? tree.live
                ? `there is no ${shown.slice(1)} in the build context`
                : null
            : `the pattern ${JSON.stringify(rule)} in .dockerignore leaves it out`,
    });
}
/** Paths that match, in walking order. The part before the first wildcard is resolved, the rest is matched as one
 *  pattern against the paths below it; what is below a match is not looked at. */
function expandWildcards(tree, src, followSymlink) {
    const parts = cleanPath(src).split("/");
    const first = parts.findIndex(hasWildcard);
    if (first < 0)
        return [parts.join("/")];
    const base = resolvePath(tree, parts.slice(0, first).join("/"), followSymlink);
    const pattern = textOf(parts.slice(first).join("/"));
    const stat = tree.lstat(base);
    if (stat === null)
        throw missing(tree, parts.slice(0, first).join("/"), base);
    // Only a slash in the pattern or a negated class matches a slash, so deeper names cannot match.
    const depth = parts.length - first + pattern.split("[").length - 1;
    const found = [];
    const search = (directory, relative, level) => {
        for (const child of tree.children(directory)) {
            const path = joinPath(directory, child.name);
            const below = joinPath(relative, child.name);
            if (matchesOrFalse(pattern, textOf(below)))
                found.push(path);
            else if (child.stat.type === "directory" && level < depth)
                search(path, below, level + 1);
        }
    };
    if (stat.type === "directory")
        search(base, "", 1);
    return found;
}
/** A malformed pattern matches nothing, as in fsutil. */
function matchesOrFalse(pattern, path) {
    try {
        return matchPath(pattern, path);
    }
    catch {
        return false;
    }
}
function hasWildcard(part) {
    return /^(?:[^\\]|\\.)*?[*?[]/s.test(part);
}
/** Walks what a selector's patterns choose below one match, sorted by bytes in each directory. Directories that hold
 *  nothing chosen are not entered. */
export function walkMatch(tree, match, patterns, visitor) {
    const filter = makeFilter(tree, match.path, patterns.includePatterns, patterns.excludePatterns);
    const visit = (path, relative, stat, isWay) => {
        const entry = { path, relative, stat, isWay };
        visitor.enter(entry);
        if (stat.type !== "directory")
            return;
        for (const child of tree.children(path)) {
            const childPath = joinPath(path, child.name);
            const standing = filter.standing(childPath, child.stat);
            if (standing === "out")
                continue;
            visit(childPath, joinPath(relative, child.name), child.stat, standing === "way");
        }
        visitor.leave?.(entry);
    };
    visit(match.path, "", match.stat, false);
}
//# sourceMappingURL=tree-select.js.map