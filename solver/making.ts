// Produces one result: a slot in the queue of its kind, the lock of its key, a final lookup of the records, the worker, the
// record. This is what a flight runs.

import type PQueue from "p-queue";
import type { ImportedResults } from "../cache/remote-cache/imports.ts";
import {
  type CacheKey,
  contentPart,
  ingredientsOf,
  isContentPart,
  type KeyPart,
  keyOf,
  opName,
  outputName,
} from "./cache-key.ts";
import { keysOf, type Parts } from "./edge.ts";
import type { Definition, Input } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import { saysWaiting } from "./graph/event.ts";
import type { Op } from "./graph/op.ts";
import type { CallContext, LayerId, Result } from "./graph/request.ts";
import type { Node } from "./job.ts";
import { kept, type ResultRecords } from "./records.ts";
import { WHOLE } from "./selectors.ts";
import type { ResultRecord, Store } from "../cache/contract.ts";
import type { StepInfo, Worker } from "../worker/contract.ts";

/** Limits of parallel work by kind of op: source, exec, and file for all others. */
export interface Limits {
  readonly exec: PQueue;
  readonly file: PQueue;
  readonly source: PQueue;
}

/** Dependencies. */
export interface Means {
  readonly worker: Worker;
  readonly store: Store;
  readonly limits: () => Promise<Limits>;
  readonly nowMs: () => number;
  /** Caches of this build; omitted: none. */
  readonly imports?: ImportedResults;
  /** Builds with other terms (limits of steps, the runtime, entitlements) do not share work; omitted: "". */
  readonly terms?: string;
  /** Keeps the worker and everything it uses until disposed: shared work outlives the build that started it. */
  readonly hold?: () => AsyncDisposable;
  /** Each graph as it is to be solved, with the roots wanted of it; omitted: as it is. */
  readonly govern?: (
    definition: Definition,
    roots: readonly Input[],
    context: { readonly signal: AbortSignal },
  ) => Promise<{ readonly definition: Definition; readonly roots: readonly Input[] }>;
}

export interface Task {
  readonly node: Node;
  readonly parts: Parts;
  readonly results: readonly Result[];
  readonly priority: number;
}

/** A new result, or one that another process has just recorded. */
export interface Made {
  readonly outputs: readonly (Result | null)[];
  readonly how: "ran" | "found";
  /** What was read of live files: as in the key, different but known, or unknown. */
  readonly read: "as-keyed" | Digest | "unknown";
  /** null: cannot be recorded (a result without layers). */
  readonly record: ResultRecord | null;
  /** Keys under which it is already recorded. */
  readonly recordedAs: readonly CacheKey[];
  /** It ran, and its output was unchanged: the earlier layers are used. */
  readonly unchanged: boolean;
}

/** Finds or produces the result; records it. Sharing with others is up to the flight. */
export async function make(
  task: Task,
  means: Means,
  records: ResultRecords,
  context: CallContext,
): Promise<Made> {
  const { node, parts } = task;
  const keys = keysOf(node.facts.op, parts);
  return inSlot(task, means, context.signal, () =>
    means.store.exclusively(
      keys.at(-1) as CacheKey,
      async () => {
        context.signal.throwIfAborted();
        return recorded(task, records) ?? (await run(task, means, records, context));
      },
      {
        signal: context.signal,
        onWait: saysWaiting(context.emit, node.vertex.digest, "the same step in another build"),
        sparesWork: true,
      },
    ),
  );
}

/** Runs a source that has no key yet; not recorded. */
export async function fetchUnnamed(node: Node, means: Means, context: CallContext): Promise<Made> {
  const task = { node, parts: { definition: [], result: null, content: null }, results: [], priority: 0 };
  const outcome = await inSlot(task, means, context.signal, () =>
    means.worker.run(node.vertex, [], context, infoOf(node), []),
  );
  return {
    outputs: outcome.outputs,
    how: "ran",
    read: "as-keyed",
    record: null,
    recordedAs: [],
    unchanged: false,
  };
}

/** Keys of what was actually read, and the first of them, the key by definition. If that is unknown, users are keyed by the
 *  resulting layers, and nothing is recorded. */
export function keysAsRead(
  task: Pick<Task, "node" | "parts">,
  made: Made,
): { readonly key: CacheKey; readonly keys: readonly CacheKey[] } {
  const { op } = task.node.facts;
  const actual = partsAsRead(task.parts, made.read);
  if (actual === null) {
    const layers = made.outputs.map((output) => (output?.kind === "layers" ? output.layers.join(",") : ""));
    return { key: keyOf(op, ["made", ...layers]), keys: [] };
  }
  return { key: keyOf(op, actual.definition), keys: keysOf(op, actual) };
}

/** null: unknown. */
function partsAsRead(parts: Parts, read: Made["read"]): Parts | null {
  if (read === "unknown") return null;
  if (read === "as-keyed") return parts;
  return {
    definition: withLive(parts.definition, parts.definition, read),
    result: parts.result && withLive(parts.result, parts.definition, read),
    content: parts.content && withLive(parts.content, parts.definition, read),
  };
}

/** Name for the output of a step with these parts. */
function outputsOf({ node }: Pick<Task, "node">, parts: Parts): string {
  return outputName(node.vertex.op, node.facts.op, parts.content ?? parts.result ?? parts.definition);
}

function withLive(
  parts: readonly KeyPart[],
  definition: readonly KeyPart[],
  read: Digest,
): readonly KeyPart[] {
  return parts.map((part, index) => (isContentPart(definition[index] as KeyPart) ? contentPart(read) : part));
}

/** Another build may have been faster while this one waited. */
function recorded({ node, parts }: Task, records: ResultRecords): Made | null {
  const { op, trust } = node.facts;
  if (trust === "none") return null;
  const asked = trust === "all" ? parts : { ...parts, definition: parts.result ?? parts.definition };
  for (const key of keysOf(op, asked)) {
    const found = records.find(key, node.outputs);
    if (found === null) continue;
    const { outputs, record } = found;
    return { outputs, how: "found", read: "as-keyed", record, recordedAs: [key], unchanged: false };
  }
  return null;
}

async function run(task: Task, means: Means, records: ResultRecords, context: CallContext): Promise<Made> {
  const { node, parts, results } = task;
  const { vertex, note, facts } = node;
  const startedMs = means.nowMs();
  context.emit({ kind: "started", vertex: vertex.digest, atMs: startedMs });
  const earlier = records.earlier(outputsOf(task, parts));
  const outcome = await means.worker.run(vertex, results, context, infoOf(node), earlier);
  records.hold(outcome.outputs);
  records.derive(results, outcome.outputs);
  for (const index of node.outputs) {
    if ((outcome.outputs[index] ?? null) === null)
      throw new Error(`${vertex.op.kind}: no output ${index} was made`);
  }
  const read = await whatWasRead(task, means, context, outcome.readDigest);
  const createdAtMs = means.nowMs();
  const recordable = outcome.outputs.every((output) => output === null || output.kind === "layers");
  const record: ResultRecord | null = recordable
    ? {
        outputs: outcome.outputs.map((output) => (output?.kind === "layers" ? output.layers : null)),
        createdAtMs,
        durationMs: Math.max(0, createdAtMs - startedMs),
        lastUsedMs: createdAtMs,
        name: note?.name ?? vertex.op.kind,
        ingredients: kept({ ...ingredientsOf(vertex.op, vertex.platform), ...partIngredients(parts) }),
      }
    : null;
  const unchanged =
    record !== null && record.outputs.every((layers, index) => isEarlier(layers, earlier[index]));
  const made: Made = { outputs: outcome.outputs, how: "ran", read, record, recordedAs: [], unchanged };
  if (record === null) return made;
  const { keys } = keysAsRead(task, made);
  const actual = partsAsRead(parts, read);
  const output = actual === null ? null : outputsOf(task, actual);
  if (keys.length > 0) records.put(keys, record, { op: opName(facts.op), output });
  return { ...made, recordedAs: keys };
}

/** Does the newest layer of an output come from an earlier run? A missing output counts as unchanged. */
function isEarlier(layers: readonly LayerId[] | null, earlier: readonly LayerId[] | undefined): boolean {
  const newest = layers?.at(-1);
  return newest === undefined || earlier?.includes(newest) === true;
}

/**
 * Live files may change between hashing and copying. The worker's digest of what it read is authoritative: for a copy from one
 * source even if it differs. Otherwise the files are hashed again: an equal digest means nothing changed.
 */
async function whatWasRead(
  { node, parts, results }: Task,
  means: Means,
  context: CallContext,
  readDigest: Digest | null,
): Promise<Made["read"]> {
  const live = parts.definition.flatMap((part, index) => (isContentPart(part) ? [index] : []));
  const [only] = live;
  if (only === undefined) return "as-keyed";
  if (live.length === 1 && readDigest !== null) {
    if (contentPart(readDigest) === parts.definition[only]) return "as-keyed";
    if (node.vertex.op.kind === "file" && node.facts.reads[only] !== null) return readDigest;
  }
  for (const index of live) {
    const selectors = node.facts.reads[index] ?? WHOLE;
    const now = await means.worker.contentDigest(results[index] as Result, selectors, context);
    if (contentPart(now) !== parts.definition[index]) return "unknown";
  }
  return "as-keyed";
}

function partIngredients(parts: Parts): Record<string, string> {
  const named: Record<string, string> = {};
  for (const [index, part] of parts.definition.entries()) {
    named[`input ${index}`] = part;
    const other = (parts.content ?? parts.result)?.[index];
    if (other !== undefined && other !== part) named[`input ${index} is`] = other;
  }
  return named;
}

function queueOf(op: Op, limits: Limits): PQueue {
  if (op.kind === "exec") return limits.exec;
  return op.kind === "source" ? limits.source : limits.file;
}

/** Runs work within its limit. An abort removes it from the queue; once it runs, it is awaited. */
async function inSlot<T>(task: Task, means: Means, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const queue = queueOf(task.node.vertex.op, await means.limits());
  signal.throwIfAborted();
  // p-queue abandons a running task whose signal aborts, without waiting for it: so it gets a signal that never aborts.
  const queued = new AbortController();
  let isRunning = false;
  const leave = (): void => {
    if (!isRunning) queued.abort(signal.reason);
  };
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await queue.add(
      () => {
        isRunning = true;
        return work();
      },
      { priority: task.priority, signal: queued.signal },
    );
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function infoOf({ note, vertex }: Node): StepInfo {
  return { name: note?.name ?? vertex.op.kind, resources: note?.resources ?? null };
}
