// Keys to results on disk: asking, believing, recording, keeping young. One of these for each build.

import { createHash } from "node:crypto";
import type { LayerRecord, ResultRecord, Store } from "../cache/store.ts";
import type { CacheKey, Ingredients } from "./cache-key.ts";
import type { LayerId, Result } from "./graph/request.ts";

export interface Found {
  readonly outputs: readonly (Result | null)[];
  readonly record: ResultRecord;
}

export interface ResultRecords extends AsyncDisposable {
  /** Holds layers against collection until disposed. */
  hold(outputs: readonly (Result | null)[]): void;
  /** What is recorded under a key, or null. Believed only if the wanted outputs still exist; they are held from then on. */
  find(key: CacheKey, wanted: readonly number[]): Found | null;
  /** Records a result under all its keys at once, and how long the op (opName()) took. */
  put(keys: readonly CacheKey[], record: ResultRecord, op: string | null): void;
  /** Milliseconds an op (opName()) took the last time, whatever its inputs; null: never seen. */
  durationMs(op: string): number | null;
  /** Notes the use of records that were hit, and of `below`: keys of steps that a hit made unnecessary. One transaction. */
  touch(below: Iterable<CacheKey>): void;
}

const RESULTS = "result";
const DURATIONS = "duration";
/** Use is noted this coarsely: a build that hits everything mostly writes nothing. */
const LAST_USED_GRAIN_MS = 3_600_000;
/** Longer ingredients (a here document) are kept as beginning and digest. */
const INGREDIENT_MAX_CHARS = 2_048;

/** Records of one build. Dispose it when the results are no longer needed. */
export function openResultRecords(store: Store, nowMs: () => number): ResultRecords {
  const lease = store.lease();
  const held = new Set<LayerId>();
  const usable = new Set<LayerId>();
  const hits = new Map<CacheKey, ResultRecord>();

  function hold(outputs: readonly (Result | null)[]): void {
    const fresh = new Set<LayerId>();
    for (const output of outputs) {
      if (output?.kind !== "layers") continue;
      for (const id of output.layers) if (!held.has(id)) fresh.add(id);
    }
    if (fresh.size === 0) return;
    for (const id of fresh) held.add(id);
    lease.addLayers([...fresh]);
  }

  function isUsable(id: LayerId): boolean {
    if (usable.has(id)) return true;
    const layer = store.layers.get(id);
    if (layer === null || !(layer.unpacked || layer.remotes.length > 0 || hasBlob(layer))) return false;
    usable.add(id); // and stays so: it is held
    return true;
  }

  function hasBlob(layer: LayerRecord): boolean {
    return Object.values(layer.blobs).some((blob) => store.content.has(blob.digest));
  }

  function isStale(record: ResultRecord): boolean {
    return Math.abs(nowMs() - record.lastUsedMs) > LAST_USED_GRAIN_MS; // clocks jump both ways
  }

  return {
    hold,
    find(key, wanted) {
      const record = store.records.get<ResultRecord>(RESULTS, key);
      if (record === null || !Array.isArray(record.outputs)) return null;
      const outputs = record.outputs.map((layers): Result | null =>
        Array.isArray(layers) ? { kind: "layers", layers } : null,
      );
      const needed = outputs.map((output, index) => (wanted.includes(index) ? output : null));
      for (const index of wanted) if ((outputs[index] ?? null) === null) return null;
      hold(needed); // first the hold, then the look: what is there now stays
      for (const output of needed) {
        if (output?.kind === "layers" && !output.layers.every(isUsable)) return null;
      }
      hits.set(key, record);
      return { outputs, record };
    },
    put(keys, record, op) {
      const changes: { space: string; key: string; value: unknown }[] = keys.map((key) => ({
        space: RESULTS,
        key,
        value: record,
      }));
      if (op !== null) changes.push({ space: DURATIONS, key: op, value: record.durationMs });
      if (changes.length > 0) store.records.batch(changes);
    },
    durationMs: (op) => store.records.get<number>(DURATIONS, op),
    touch(below) {
      const stale = [...hits].filter(([, record]) => isStale(record));
      if (stale.length === 0) return; // then what lies below was noted not long ago either
      for (const key of below) {
        const record = hits.has(key) ? null : store.records.get<ResultRecord>(RESULTS, key);
        if (record !== null && isStale(record)) stale.push([key, record]);
      }
      const lastUsedMs = nowMs();
      store.records.batch(
        stale.map(([key, record]) => ({ space: RESULTS, key, value: { ...record, lastUsedMs } })),
      );
    },
    [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
  };
}

/** Ingredients fit to be kept in a record: short ones as they are. */
export function kept(ingredients: Ingredients): Ingredients {
  return Object.fromEntries(
    Object.entries(ingredients).map(([name, value]) => [
      name,
      value.length <= INGREDIENT_MAX_CHARS
        ? value
        : `${value.slice(0, INGREDIENT_MAX_CHARS)}… sha256:${createHash("sha256").update(value).digest("hex")}`,
    ]),
  );
}
