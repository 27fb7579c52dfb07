// What the store holds, and giving disk space back.
//
// In use is what an image name leads to (manifests, configs, blobs, layers) and what a live process has leased; it is never
// removed. All else is cache: it goes least recently used first, until `keepBytes` is met.
//
// Nothing is deleted before it is unfindable: prune() takes records out and renames files away, then reads the leases again and
// puts back what somebody has leased in between (leases.ts has the other half of the argument).
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { hexOf } from "../solver/graph/digest.js";
import { errnoOf } from "./disk-fault.js";
import { LAYER_SPACE } from "./layer-store.js";
import { parseFilters } from "./prune-filter.js";
import { STAT_SPACE } from "./stat-cache.js";
import { survey } from "./survey.js";
/** Everything in the store, least recently used first. */
export async function usage(store) {
    return inOrder((await survey(store)).entries);
}
/** Removes cache nobody uses. Throws USAGE for a filter it does not know. */
export async function prune(store, options) {
    const matches = parseFilters(options.filters);
    return await store.exclusively("prune", async () => {
        const before = await survey(store);
        const chosen = choose(before, options, matches);
        const removed = await remove(store, before, chosen, options.signal);
        sweep(store, options.all);
        return {
            removedLayers: removed.flatMap((entry) => (entry.kind === "layer" ? [entry.id] : [])),
            removedBlobs: removed.flatMap((entry) => (entry.kind === "blob" ? [entry.id] : [])),
            removed,
            freedBytes: removed.reduce((sum, entry) => sum + entry.sizeBytes, 0),
            directories: store.layers.discarded(),
        };
    }, { signal: options.signal });
}
/** What shall go. */
function choose({ entries, repackable }, options, matches) {
    const now = Date.now();
    let total = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    const chosen = [];
    for (const entry of inOrder(entries)) {
        if (options.keepBytes !== null && total <= options.keepBytes)
            break;
        const extra = options.all && repackable.has(entry.id);
        if (!entry.reclaimable && !extra)
            continue;
        if (!options.all && entry.kind === "record" && entry.id.startsWith(`${STAT_SPACE}:`))
            continue;
        if (options.olderThanMs !== null && entry.lastUsedMs > now - options.olderThanMs)
            continue;
        if (!matches(entry))
            continue;
        chosen.push(entry);
        total -= entry.sizeBytes;
    }
    return chosen;
}
/** Least recently used first. Of equal age: records before blobs before layers, the order in which they can be made again;
 *  larger ones first; then by id, so that the order is always the same. */
function inOrder(entries) {
    const rank = { record: 0, blob: 1, layer: 2, "cache-mount": 3 };
    return [...entries].sort((a, b) => a.lastUsedMs - b.lastUsedMs ||
        rank[a.kind] - rank[b.kind] ||
        b.sizeBytes - a.sizeBytes ||
        (a.id < b.id ? -1 : 1));
}
async function remove(store, before, chosen, signal) {
    const layers = new Set(chosen.flatMap((entry) => (entry.kind === "layer" ? [entry.id] : [])));
    const blobs = new Set(chosen.flatMap((entry) => (entry.kind === "blob" ? [entry.id] : [])));
    // 1. Unfindable: records first, all at once, and visible to everybody.
    const lost = dropRecords(store, before, layers, blobs);
    for (const entry of chosen) {
        if (entry.kind !== "record")
            continue;
        const [space, key] = split(entry.id);
        store.records.remove(space, key);
    }
    await store.records.commit();
    // 2. Files away, except what has been leased meanwhile.
    const early = await store.pinned();
    const retired = new Map();
    for (const id of layers) {
        if (early.layers.has(id))
            continue;
        const place = store.layers.retire(id);
        if (place !== null)
            retired.set(id, place);
    }
    const moved = new Map();
    for (const digest of blobs) {
        if (early.blobs.has(digest))
            continue;
        const place = join(store.tempDir(), `pruned-${hexOf(digest)}`);
        if (moveAway(store.content.path(digest), place))
            moved.set(digest, place);
    }
    // 3. Leased between the two looks: back again.
    const late = await store.pinned();
    for (const [id, place] of retired) {
        if (!late.layers.has(id))
            continue;
        store.layers.restore(id, place);
        retired.delete(id);
    }
    for (const [digest, place] of moved) {
        if (!late.blobs.has(digest))
            continue;
        renameSync(place, store.content.path(digest));
        moved.delete(digest);
    }
    restoreRecords(store, lost, (id) => late.layers.has(id) || early.layers.has(id));
    for (const place of moved.values())
        rmSync(place, { force: true });
    const mounts = new Set();
    for (const [id, path] of before.mountPaths) {
        if (!chosen.some((entry) => entry.kind === "cache-mount" && entry.id === id))
            continue;
        if ((await store.cacheMounts.remove(path, { signal })) !== null)
            mounts.add(id);
    }
    await store.records.commit();
    return chosen.filter((entry) => {
        switch (entry.kind) {
            case "layer":
                return !late.layers.has(entry.id) && !early.layers.has(entry.id);
            case "blob":
                return moved.has(entry.id);
            case "cache-mount":
                return mounts.has(entry.id);
            case "record":
                return true;
        }
    });
}
/** Rewrites the records of layers that lose directory or blobs; those nobody could make again go, and with them the results that
 *  lead to them. Returns the layer records as they were. */
function dropRecords(store, before, layers, blobs) {
    const changed = new Map();
    const dead = new Set();
    for (const record of before.layers.values()) {
        const left = Object.entries(record.blobs).filter(([, blob]) => !blobs.has(blob.digest));
        const unpacked = record.unpacked && !layers.has(record.id);
        if (unpacked === record.unpacked && left.length === Object.keys(record.blobs).length)
            continue;
        changed.set(record.id, record);
        const isObtainable = unpacked || record.remotes.length > 0 || left.some(([, blob]) => before.blobs.has(blob.digest));
        if (!isObtainable)
            dead.add(record.id);
        store.records.merge(LAYER_SPACE, record.id, (old) => old === null || !isObtainable
            ? null
            : { ...old, unpacked, sizeBytes: unpacked ? old.sizeBytes : 0, blobs: Object.fromEntries(left) });
    }
    for (const { key, value } of store.records.entries("result")) {
        if (value.outputs.some((output) => output?.some((id) => dead.has(id))))
            store.records.remove("result", key);
    }
    return changed;
}
function restoreRecords(store, lost, isPinned) {
    for (const [id, record] of lost) {
        if (!isPinned(id))
            continue;
        const { id: _, ...fields } = record;
        store.layers.update(id, { ...fields, unpacked: existsSync(store.layers.directory(id)) });
    }
}
/** What no entry stands for. */
function sweep(store, all) {
    for (const id of store.layers.orphans())
        store.layers.retire(id);
    if (!all)
        return;
    const quarantine = join(store.dir, "tmp", "quarantine");
    for (const name of readdirSync(quarantine))
        rmSync(join(quarantine, name), { force: true });
}
function moveAway(from, to) {
    try {
        renameSync(from, to);
        return true;
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT")
            return false;
        throw error;
    }
}
/** "result:<key>" */
function split(id) {
    const colon = id.indexOf(":");
    return [id.slice(0, colon), id.slice(colon + 1)];
}
//# sourceMappingURL=collect.js.map