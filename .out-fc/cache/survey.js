// A look over the whole store: what is there, what leads to it, who uses it. collect.ts decides with it.
import { lstatSync, readdirSync } from "node:fs";
import { isDigest } from "../solver/graph/digest.js";
import { STAT_SPACE, savedAtMs } from "./stat-cache.js";
/** Largest document looked into for references: containerd's and docker's limit for manifests. */
const MANIFEST_MAX_BYTES = 4 * 2 ** 20;
export async function survey(store) {
    const pinned = await store.pinned();
    const layers = new Map(store.layers.list().map((record) => [record.id, record]));
    const blobs = new Map(store.content.list().map((blob) => [blob.digest, blob]));
    const images = [...store.records.entries("image")].map((entry) => entry.value);
    const results = [...store.records.entries("result")];
    const layerTraces = new Map();
    for (const { value } of results) {
        const time = Math.max(value.lastUsedMs, value.createdAtMs);
        for (const id of new Set(value.outputs.flatMap((output) => output ?? [])))
            trace(layerTraces, id, time, value.name);
    }
    const blobTraces = new Map();
    const imageLayers = new Set();
    const imageBlobs = new Set();
    for (const image of images) {
        for (const digest of reach(store, image.target.digest)) {
            imageBlobs.add(digest);
            trace(blobTraces, digest, image.createdAtMs, image.name);
        }
        for (const id of Object.values(image.layers).flat()) {
            imageLayers.add(id);
            trace(layerTraces, id, image.createdAtMs, image.name);
        }
    }
    // A lease holds what its ids need: the blobs a layer can be unpacked from, the documents below a manifest.
    const leasedBlobs = new Set([...pinned.blobs].flatMap((digest) => [...reach(store, digest)]));
    const usedLayers = new Set([...imageLayers, ...pinned.layers]);
    const usedBlobs = new Set([...imageBlobs, ...leasedBlobs]);
    const entries = [];
    const repackable = new Set();
    for (const record of layers.values()) {
        const known = layerTraces.get(record.id);
        const lastUsedMs = Math.max(record.createdAtMs, known?.lastUsedMs ?? 0);
        const held = Object.values(record.blobs).filter((blob) => blobs.has(blob.digest));
        for (const { digest } of held) {
            trace(blobTraces, digest, lastUsedMs, record.description);
            if (usedLayers.has(record.id))
                usedBlobs.add(digest);
        }
        if (!record.unpacked)
            continue;
        const inUse = usedLayers.has(record.id);
        if (inUse && !pinned.layers.has(record.id) && held.length > 0)
            repackable.add(record.id);
        entries.push({
            id: record.id,
            kind: "layer",
            sizeBytes: record.sizeBytes > 0 ? record.sizeBytes : sizeOfTree(store.layers.directory(record.id)),
            shared: (known?.count ?? 0) > 1,
            inUse,
            reclaimable: !inUse,
            lastUsedMs,
            description: record.description || (known?.name ?? ""),
        });
    }
    for (const blob of blobs.values()) {
        const known = blobTraces.get(blob.digest);
        const inUse = usedBlobs.has(blob.digest);
        entries.push({
            id: blob.digest,
            kind: "blob",
            sizeBytes: blob.size,
            shared: (known?.count ?? 0) > 1,
            inUse,
            reclaimable: !inUse,
            lastUsedMs: Math.max(blob.addedAtMs, known?.lastUsedMs ?? 0),
            description: known?.name ?? "",
        });
    }
    for (const { key, value } of results) {
        const lastUsedMs = Math.max(value.lastUsedMs, value.createdAtMs);
        entries.push(recordEntry(`result:${key}`, JSON.stringify(value).length, lastUsedMs, value.name));
    }
    for (const { key, value } of store.records.entries(STAT_SPACE)) {
        entries.push(recordEntry(`${STAT_SPACE}:${key}`, value.length, savedAtMs(value), "digests of a context's files"));
    }
    const mountPaths = new Map();
    for (const mount of store.cacheMounts.list()) {
        const [, name = "", slot = ""] = /\/([^/]+)\/slot-([^/]+)\/fs$/.exec(mount.path) ?? [];
        const id = `${name.slice(0, 24)}.${slot}`;
        mountPaths.set(id, mount.path);
        entries.push({
            id,
            kind: "cache-mount",
            sizeBytes: sizeOfTree(mount.path),
            shared: false,
            inUse: mount.inUse,
            reclaimable: !mount.inUse,
            lastUsedMs: mount.lastUsedMs,
            description: `cache mount ${mount.id}`,
        });
    }
    return { entries, layers, blobs: new Set(blobs.keys()), repackable, mountPaths };
}
function recordEntry(id, sizeBytes, lastUsedMs, description) {
    return {
        id,
        kind: "record",
        sizeBytes,
        shared: false,
        inUse: false,
        reclaimable: true,
        lastUsedMs,
        description,
    };
}
function trace(traces, key, timeMs, name) {
    const known = traces.get(key);
    if (known === undefined)
        traces.set(key, { count: 1, lastUsedMs: timeMs, name });
    else {
        known.count++;
        known.lastUsedMs = Math.max(known.lastUsedMs, timeMs);
        if (known.name === "")
            known.name = name;
    }
}
/** A blob and all that it refers to, when it is an image manifest or an index; what is not here is left out. Follows every
 *  "digest" in the places where image-spec manifest.md and image-index.md have descriptors. */
function reach(store, from) {
    const seen = new Set();
    const queue = [from];
    for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
        if (seen.has(digest))
            continue;
        seen.add(digest);
        queue.push(...referencesIn(readDocument(store, digest)));
    }
    return seen;
}
function readDocument(store, digest) {
    const size = store.content.size(digest);
    if (size === null || size > MANIFEST_MAX_BYTES)
        return null;
    try {
        const bytes = store.content.read(digest, MANIFEST_MAX_BYTES);
        // "{", perhaps after white space: anything else is a layer, not worth decoding.
        const first = bytes.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09);
        return first === 0x7b ? JSON.parse(Buffer.from(bytes).toString("utf8")) : null;
    }
    catch {
        // Damaged (set aside by read()), just removed, or no JSON: it leads nowhere.
        return null;
    }
}
function referencesIn(document) {
    if (!isObject(document))
        return [];
    const { config, layers, manifests, subject } = document;
    const descriptors = [config, subject];
    for (const list of [layers, manifests])
        if (Array.isArray(list))
            descriptors.push(...list);
    return descriptors.flatMap((one) => {
        if (!isObject(one) || typeof one["digest"] !== "string")
            return [];
        return isDigest(one["digest"]) ? [one["digest"]] : [];
    });
}
function isObject(value) {
    return typeof value === "object" && value !== null;
}
/** Bytes on disk below a directory; what this process may not look into counts nothing. */
function sizeOfTree(dir) {
    let total = 0;
    const queue = [Buffer.from(dir)];
    const seen = new Set();
    for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
        let names;
        try {
            names = readdirSync(at, { encoding: "buffer" });
        }
        catch {
            continue; // of a subordinate id, or gone
        }
        for (const name of names) {
            const path = Buffer.concat([at, Buffer.from("/"), name]);
            const stat = lstatSync(path, { throwIfNoEntry: false });
            if (stat === undefined)
                continue;
            if (stat.isDirectory())
                queue.push(path);
            if (stat.nlink > 1 && !stat.isDirectory()) {
                if (seen.has(stat.ino))
                    continue;
                seen.add(stat.ino);
            }
            total += stat.blocks * 512;
        }
    }
    return total;
}
//# sourceMappingURL=survey.js.map