// Keys to results on disk: lookup, verification, recording, updating the time of last use. One instance per build.

import { createHash } from "node:crypto";
import { sureForms } from "../cache/claims.ts";
import type { ImportedResults } from "../cache/remote-cache/imports.ts";
import type { CacheKey, Ingredients } from "./cache-key.ts";
import { redactUrl } from "./graph/error.ts";
import type { Descriptor, LayerId, Result } from "./graph/request.ts";
import type { ResultRecord, Store } from "../cache/contract.ts";
import type { EarlierLayers } from "../worker/contract.ts";

export interface Found {
  readonly outputs: readonly (Result | null)[];
  readonly record: ResultRecord;
}

/** Data from running an op. */
export interface Lesson {
  /** opName(): its duration. */
  readonly op: string;
  /** outputName(): its output layers; null: inputs unknown. */
  readonly output: string | null;
}

export interface ResultRecords extends AsyncDisposable {
  /** Leases layers until disposed. */
  hold(outputs: readonly (Result | null)[]): void;
  /** New layers depend on these results: layers that depend on an imported result count as imported. */
  derive(from: readonly Result[], outputs: readonly (Result | null)[]): void;
  /** The record of a key, or null. Valid only if the requested outputs still exist; they are leased from then on. */
  find(key: CacheKey, wanted: readonly number[]): Found | null;
  /** Records a result under all its keys at once, with data about the op for the next time. */
  put(keys: readonly CacheKey[], record: ResultRecord, op: Lesson | null): void;
  /** Earlier layers of a step with this outputName(): by output, newest first. They are leased from then on. */
  earlier(name: string): EarlierLayers;
  /** Last duration of an op (opName()) in milliseconds, with any inputs; null: unknown. */
  durationMs(op: string): number | null;
  /** Updates the time of last use of records that were hit, and of `below`: keys of steps that a hit made unnecessary. One transaction. */
  touch(below: Iterable<CacheKey>): void;
}

const RESULTS = "result";
const DURATIONS = "duration";
const OUTPUTS = "output";
/** Layers recorded for each output of a step: enough for switching between a few versions of a source. */
const EARLIER_MAX = 4;
/** Granularity of the time of last use: a fully cached build mostly writes nothing. */
const LAST_USED_GRAIN_MS = 3_600_000;
/** Longer ingredients (a here document) are stored as prefix and digest. */
const INGREDIENT_MAX_CHARS = 2_048;

/** Records of one build, and the caches it imports. Dispose it when the results are no longer needed. */
export function openResultRecords(
  store: Store,
  nowMs: () => number,
  imports: ImportedResults | null = null,
): ResultRecords {
  const lease = store.lease();
  const held = new Set<LayerId>();
  const usable = new Set<LayerId>();
  const hits = new Map<string, ResultRecord>();

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
    if (layer === null) return false;
    const isFar = layer.remotes.length > 0 && imports?.isBarred(id) !== true;
    if (!(layer.unpacked || isFar || hasBlob(sureForms(layer)) || isMade(id))) return false;
    usable.add(id); // and stays so: it is held
    return true;
  }

  function hasBlob(blobs: readonly Descriptor[]): boolean {
    return blobs.some((blob) => store.content.has(blob.digest));
  }

  /** A layer of an image that was built here; the local layer used for it is leased with it. */
  function isMade(id: LayerId): boolean {
    const made = store.layers.made(id);
    return made !== null && (made.record.unpacked || hasBlob(Object.values(made.blobs)));
  }

  function isStale(record: ResultRecord): boolean {
    return Math.abs(nowMs() - record.lastUsedMs) > LAST_USED_GRAIN_MS; // clocks jump both ways
  }

  /** Also the result if all requested outputs still exist; they are leased from then on. */
  function believed(name: string, record: ResultRecord | null, wanted: readonly number[]): Found | null {
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
    hits.set(name, record);
    return { outputs, record };
  }

  function imported(
    key: CacheKey,
    name: string,
    wanted: readonly number[],
    from: ImportedResults,
  ): Found | null {
    const record = from.find(key, wanted, nowMs());
    if (record === null) return null;
    const found = believed(name, record, wanted);
    if (found !== null) store.records.put(RESULTS, name, record);
    return found;
  }

  return {
    hold,
    derive(from, outputs) {
      if (imports?.isForeign(stacksOf(from)) === true) imports.markForeign(stacksOf(outputs));
    },
    find(key, wanted) {
      const own = believed(key, store.records.get<ResultRecord>(RESULTS, key), wanted);
      if (own !== null || imports === null) return own;
      const name = imports.nameOf(key);
      const known = store.records.get<ResultRecord>(RESULTS, name);
      const found = believed(name, known, wanted) ?? imported(key, name, wanted, imports);
      if (found !== null) imports.markForeign(stacksOf(found.outputs));
      return found;
    },
    put(keys, record, op) {
      const isForeign = imports?.isForeign(record.outputs) === true;
      const changes: { space: string; key: string; value: unknown }[] = keys.map((key) => ({
        space: RESULTS,
        key: isForeign ? imports.nameOf(key) : key,
        value: record,
      }));
      if (op !== null) changes.push({ space: DURATIONS, key: op.op, value: record.durationMs });
      // Results of an imported cache are not compared with local ones.
      if (op !== null && op.output !== null && !isForeign) {
        const known = store.records.get<EarlierLayers>(OUTPUTS, op.output) ?? [];
        const value = record.outputs.map((layers, index) => withNewest(known[index] ?? [], layers?.at(-1)));
        changes.push({ space: OUTPUTS, key: op.output, value });
      }
      if (changes.length > 0) store.records.batch(changes);
    },
    earlier(name) {
      const known = store.records.get<EarlierLayers>(OUTPUTS, name) ?? [];
      hold(known.map((layers) => ({ kind: "layers", layers })));
      return known;
    },
    durationMs: (op) => store.records.get<number>(DURATIONS, op),
    touch(below) {
      const stale = [...hits].filter(([, record]) => isStale(record));
      if (stale.length === 0) return; // then what lies below was noted not long ago either
      for (const key of below) {
        for (const name of imports === null ? [key] : [key, imports.nameOf(key)]) {
          const record = hits.has(name) ? null : store.records.get<ResultRecord>(RESULTS, name);
          if (record !== null && isStale(record)) stale.push([name, record]);
        }
      }
      const lastUsedMs = nowMs();
      store.records.batch(
        stale.map(([key, record]) => ({ space: RESULTS, key, value: { ...record, lastUsedMs } })),
      );
    },
    [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
  };
}

/** Ingredients as stored in a record: short ones unchanged, without credentials of URLs (threat model S1). */
export function kept(ingredients: Ingredients, maxChars: number = INGREDIENT_MAX_CHARS): Ingredients {
  return Object.fromEntries(
    Object.entries(ingredients).map(([name, value]) => {
      const shown = redactUrl(value);
      if (shown.length <= maxChars) return [name, shown];
      const digest = createHash("sha256").update(shown).digest("hex");
      return [name, `${shown.slice(0, maxChars)}… sha256:${digest}`];
    }),
  );
}

function withNewest(known: readonly LayerId[], newest: LayerId | undefined): readonly LayerId[] {
  if (newest === undefined) return known;
  return [newest, ...known.filter((id) => id !== newest)].slice(0, EARLIER_MAX);
}

function stacksOf(results: readonly (Result | null)[]): readonly (readonly LayerId[] | null)[] {
  return results.map((result) => (result?.kind === "layers" ? result.layers : null));
}
