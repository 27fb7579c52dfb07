// Keys to results on disk: asking, believing, recording, keeping young. One of these for each build.
import { createHash } from "node:crypto";
const RESULTS = "result";
const DURATIONS = "duration";
/** Use is noted this coarsely: a build that hits everything mostly writes nothing. */
const LAST_USED_GRAIN_MS = 3_600_000;
/** Longer ingredients (a here document) are kept as beginning and digest. */
const INGREDIENT_MAX_CHARS = 2_048;
/** Records of one build. Dispose it when the results are no longer needed. */
export function openResultRecords(store, nowMs) {
    const lease = store.lease();
    const held = new Set();
    const usable = new Set();
    const hits = new Map();
    function hold(outputs) {
        const fresh = new Set();
        for (const output of outputs) {
            if (output?.kind !== "layers")
                continue;
            for (const id of output.layers)
                if (!held.has(id))
                    fresh.add(id);
        }
        if (fresh.size === 0)
            return;
        for (const id of fresh)
            held.add(id);
        lease.addLayers([...fresh]);
    }
    function isUsable(id) {
        if (usable.has(id))
            return true;
        const layer = store.layers.get(id);
        if (layer === null || !(layer.unpacked || layer.remotes.length > 0 || hasBlob(layer)))
            return false;
        usable.add(id); // and stays so: it is held
        return true;
    }
    function hasBlob(layer) {
        return Object.values(layer.blobs).some((blob) => store.content.has(blob.digest));
    }
    function isStale(record) {
        return Math.abs(nowMs() - record.lastUsedMs) > LAST_USED_GRAIN_MS; // clocks jump both ways
    }
    return {
        hold,
        find(key, wanted) {
            const record = store.records.get(RESULTS, key);
            if (record === null || !Array.isArray(record.outputs))
                return null;
            const outputs = record.outputs.map((layers) => Array.isArray(layers) ? { kind: "layers", layers } : null);
            const needed = outputs.map((output, index) => (wanted.includes(index) ? output : null));
            for (const index of wanted)
                if ((outputs[index] ?? null) === null)
                    return null;
            hold(needed); // first the hold, then the look: what is there now stays
            for (const output of needed) {
                if (output?.kind === "layers" && !output.layers.every(isUsable))
                    return null;
            }
            hits.set(key, record);
            return { outputs, record };
        },
        put(keys, record, op) {
            const changes = keys.map((key) => ({
                space: RESULTS,
                key,
                value: record,
            }));
            if (op !== null)
                changes.push({ space: DURATIONS, key: op, value: record.durationMs });
            if (changes.length > 0)
                store.records.batch(changes);
        },
        durationMs: (op) => store.records.get(DURATIONS, op),
        touch(below) {
            const stale = [...hits].filter(([, record]) => isStale(record));
            if (stale.length === 0)
                return; // then what lies below was noted not long ago either
            for (const key of below) {
                const record = hits.has(key) ? null : store.records.get(RESULTS, key);
                if (record !== null && isStale(record))
                    stale.push([key, record]);
            }
            const lastUsedMs = nowMs();
            store.records.batch(stale.map(([key, record]) => ({ space: RESULTS, key, value: { ...record, lastUsedMs } })));
        },
        [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
    };
}
/** Ingredients fit to be kept in a record: short ones as they are. */
export function kept(ingredients) {
    return Object.fromEntries(Object.entries(ingredients).map(([name, value]) => [
        name,
        value.length <= INGREDIENT_MAX_CHARS
            ? value
            : `${value.slice(0, INGREDIENT_MAX_CHARS)}… sha256:${createHash("sha256").update(value).digest("hex")}`,
    ]));
}
//# sourceMappingURL=records.js.map