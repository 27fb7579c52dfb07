// Files of the asker, read where they are: never copied first, never sent. Unchanged files are not read again.
import { existsSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.js";
import { openStatCache } from "../../cache/stat-cache.js";
/** Opens the local source over a store's stat cache. */
export function openLocalSource(store) {
    const caches = new Map();
    const cacheOf = (root) => {
        const known = caches.get(root);
        if (known !== undefined)
            return known;
        const cache = openStatCache(store.records, root);
        caches.set(root, cache);
        return cache;
    };
    return {
        result(op, session) {
            const name = op.identifier.replace(/^local:\/\//, "");
            const root = session.directory(name);
            if (!existsSync(root))
                throw new BuildError("CONTEXT_MISSING", `the directory of the build context "${name}" is not there: ${root}`);
            return {
                kind: "files",
                name,
                excludes: patterns(op.attrs.excludepatterns),
                includes: patterns(op.attrs.includepattern),
            };
        },
        async digest(files, selectors, session, { signal }) {
            const root = session.directory(files.name);
            const cache = cacheOf(root);
            const [{ selectDigestLive }, { liveTree }, { filterTree }] = await Promise.all([
                import("../../cache/path-hash.js"),
                import("../../cache/tree-live.js"),
                import("../../cache/tree-filter.js"),
            ]);
            const known = (path, stat) => cache.get(path, stat);
            const tree = filterTree(liveTree(root, known), files);
            return selectDigestLive(tree, root, selectors, {
                signal,
                onHashed: (path, stat, digest) => cache.put(path, stat, digest),
            });
        },
        flush() {
            for (const cache of caches.values())
                cache.flush();
            caches.clear();
        },
    };
}
/** JSON array of patterns in a source attribute; absent: none. */
function patterns(text) {
    if (text === undefined || text === "")
        return [];
    const list = JSON.parse(text);
    if (!Array.isArray(list) || !list.every((item) => typeof item === "string")) {
        throw new BuildError("SOURCE_FAILED", "the patterns of a local source are not a list of texts");
    }
    return list;
}
//# sourceMappingURL=local.js.map