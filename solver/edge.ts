// State of one vertex inside one build, and advance(): what happens to it next. Pure: the scheduler performs requests
// and returns the responses as messages, so every caching rule can be read, and tested, here.
//
//   pinning ─▶ keying ─▶ keyed ─▶ looking-up ─▶ gathering ─▶ looking-up ─▶ hashing ─▶ looking-up ─▶ running ─▶ settled
//   (sources)  (inputs' keys)  (wanted)  by definition  (inputs' results)  by result  (contents)  by content
//
// A hit at any lookup settles the edge at once. Keys are computed bottom up for all vertices, results are requested top down:
// vertices that are only needed below a hit are never requested.
//
// Long because it is one state machine, and its rules are easier to find in one file.

import {
  type CacheKey,
  contentPart,
  definitionPart,
  isContentPart,
  type KeyPart,
  keyOf,
  pinPart,
  resultPart,
} from "./cache-key.ts";
import type { Input } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { Result } from "./graph/request.ts";
import { WHOLE } from "./selectors.ts";
import type { Selector } from "../worker/keeper/messages.ts";
import type { Pin } from "../worker/contract.ts";

/** The constant facts of a vertex. */
export interface EdgeFacts {
  readonly inputs: readonly Input[];
  /** source: pinned first. layers: computed from its inputs' layers, mostly without work. step: run by the worker. */
  readonly sort: "source" | "layers" | "step";
  /** opText() of the parts of the op that are in keys. */
  readonly op: string;
  /** readsOf() the op. */
  readonly reads: readonly (readonly Selector[] | null)[];
  /**
   * Which records may be used. all: any. results: something below is forced to run again, so only records of exactly the
   * results it gives. none: this vertex itself is forced.
   */
  readonly trust: "all" | "results" | "none";
  /** The result of a `layers` op over these inputs if it needs no worker. */
  readonly stack: (results: readonly Result[]) => Result | null;
}

/** The parts of a vertex's keys; all but `definition` grow as more is known. */
export interface Parts {
  readonly definition: readonly KeyPart[];
  readonly result: readonly KeyPart[] | null;
  readonly content: readonly KeyPart[] | null;
}

type Known<T> = readonly (T | null)[];
type LookUp = "definition" | "result" | "content";

export type Edge =
  | { readonly phase: "pinning"; readonly wanted: boolean }
  | {
      readonly phase: "keying";
      readonly wanted: boolean;
      readonly parts: Known<KeyPart>;
      readonly results: Known<Result>;
    }
  | {
      readonly phase: "keyed";
      readonly key: CacheKey;
      readonly parts: readonly KeyPart[];
      readonly results: Known<Result>;
    }
  | {
      readonly phase: "gathering";
      readonly key: CacheKey;
      readonly parts: readonly KeyPart[];
      readonly results: Known<Result>;
    }
  | {
      readonly phase: "hashing";
      readonly key: CacheKey;
      readonly parts: Parts;
      readonly content: Known<KeyPart>;
      readonly results: readonly Result[];
    }
  | {
      readonly phase: "looking-up";
      readonly by: LookUp;
      readonly key: CacheKey;
      readonly parts: Parts;
      readonly results: Known<Result>;
    }
  | { readonly phase: "running"; readonly key: CacheKey | null }
  | { readonly phase: "settled"; readonly key: CacheKey | null; readonly outputs: Known<Result> };

export type Message =
  | { readonly kind: "want" }
  | { readonly kind: "pinned"; readonly pin: Pin }
  /** key null: the input is live files, and this is its result. May come again with another key until the input settled. */
  | {
      readonly kind: "input-key";
      readonly index: number;
      readonly key: CacheKey | null;
      readonly result: Result | null;
    }
  | { readonly kind: "digest"; readonly index: number; readonly digest: Digest }
  | { readonly kind: "input-result"; readonly index: number; readonly result: Result }
  | { readonly kind: "found"; readonly outputs: Known<Result> }
  | { readonly kind: "missed" }
  /** key: that of what was actually read; the requested one unless live files changed meanwhile. */
  | { readonly kind: "ran"; readonly outputs: Known<Result>; readonly key: CacheKey | null };

export type Request =
  | { readonly kind: "pin" }
  | {
      readonly kind: "hash";
      readonly index: number;
      readonly result: Result;
      readonly selectors: readonly Selector[];
    }
  /** A hit is also recorded under `aliases`. */
  | {
      readonly kind: "look-up";
      readonly by: LookUp;
      readonly key: CacheKey;
      readonly aliases: readonly CacheKey[];
    }
  | { readonly kind: "want-input"; readonly index: number }
  /** parts null: a source without a key; its result is not recorded. */
  | { readonly kind: "run"; readonly parts: Parts | null; readonly results: readonly Result[] }
  | { readonly kind: "announce"; readonly key: CacheKey | null; readonly result: Result | null }
  | {
      readonly kind: "settle";
      readonly outputs: Known<Result>;
      /** pinned: known without work. found: from a record. made: computed from inputs. ran: by the worker. */
      readonly how: "pinned" | "found" | "made" | "ran";
    };

export interface Step {
  readonly edge: Edge;
  readonly requests: readonly Request[];
}

/** A vertex that has not been requested yet. Its keys are computed anyway, because keys of its users need them. */
export function openEdge(facts: EdgeFacts): Step {
  if (facts.sort === "source")
    return { edge: { phase: "pinning", wanted: false }, requests: [{ kind: "pin" }] };
  const none = facts.inputs.map(() => null);
  return keying(facts, { phase: "keying", wanted: false, parts: none, results: none }, []);
}

/** The next state and the requests to perform. Throws for a message that is invalid in its state: a bug in the scheduler. */
export function advance(facts: EdgeFacts, edge: Edge, message: Message): Step {
  if (edge.phase === "settled") return { edge, requests: [] }; // late news of inputs it no longer needs
  switch (message.kind) {
    case "want":
      return want(facts, edge);
    case "pinned":
      return pinned(facts, edge, message.pin);
    case "input-key":
      return inputKey(facts, edge, message);
    case "digest":
      return digest(facts, edge, message.index, message.digest);
    case "input-result":
      return inputResult(facts, edge, message.index, message.result);
    case "found":
      if (edge.phase !== "looking-up" && edge.phase !== "running") break;
      return settle(edge.key, message.outputs, "found");
    case "missed":
      if (edge.phase !== "looking-up") break;
      return missed(facts, edge);
    case "ran":
      if (edge.phase !== "running") break;
      return ran(facts, edge.key, message.outputs, message.key);
  }
  throw unexpected(edge, message);
}

/** Keys of a step from its parts, each once: by definition, by result, by content. */
export function keysOf(op: string, parts: Parts): readonly CacheKey[] {
  const all = [parts.definition, parts.result, parts.content].filter((some) => some !== null);
  return [...new Set(all.map((some) => keyOf(op, some)))];
}

/** Describes what an edge in this state waits for; null: nothing. A state that waits for nothing must be final. */
export function waitsFor(edge: Edge): string | null {
  switch (edge.phase) {
    case "pinning":
      return "its pin";
    case "keying":
      return edge.parts.includes(null) ? "keys of its inputs" : null;
    case "keyed":
      return "somebody who wants it";
    case "gathering":
      return edge.results.includes(null) ? "results of its inputs" : null;
    case "hashing":
      return edge.content.includes(null) ? "digests of its inputs" : null;
    case "looking-up":
      return "the cache";
    case "running":
      return "the worker";
    case "settled":
      return null;
  }
}

function want(facts: EdgeFacts, edge: Edge): Step {
  switch (edge.phase) {
    case "pinning":
      return { edge: { ...edge, wanted: true }, requests: [] };
    case "keying":
      if (edge.wanted) return { edge, requests: [] };
      // There is no lookup by definition: inputs may start while others are still being hashed.
      return {
        edge: { ...edge, wanted: true },
        requests: asksByDefinition(facts) ? [] : wantMissing(edge.results),
      };
    case "keyed":
      return pursue(facts, edge.key, edge.parts, edge.results, true);
    default:
      return { edge, requests: [] };
  }
}

function pinned(facts: EdgeFacts, edge: Edge, pin: Pin): Step {
  if (edge.phase !== "pinning") throw unexpected(edge, { kind: "pinned", pin });
  const parts = pin.digest === null ? null : [pinPart(pin.digest)];
  const key = parts === null ? null : keyOf(facts.op, parts);
  if (pin.result !== null) {
    const settled = settle(key, [pin.result], "pinned");
    return {
      edge: settled.edge,
      requests: [{ kind: "announce", key, result: pin.result }, ...settled.requests],
    };
  }
  // Without key and result only its content identifies it, so it is fetched first, requested or not: keys of users need it.
  if (parts === null || key === null) {
    return { edge: { phase: "running", key: null }, requests: [{ kind: "run", parts: null, results: [] }] };
  }
  const announce: Request = { kind: "announce", key, result: null };
  if (!edge.wanted) return { edge: { phase: "keyed", key, parts, results: [] }, requests: [announce] };
  const next = pursue(facts, key, parts, [], true);
  return { edge: next.edge, requests: [announce, ...next.requests] };
}

function inputKey(facts: EdgeFacts, edge: Edge, message: Message & { readonly kind: "input-key" }): Step {
  const { index, key, result } = message;
  const input = facts.inputs[index];
  if (input === undefined) throw unexpected(edge, message);
  if (key === null) {
    if (edge.phase !== "keying" || result === null) throw unexpected(edge, message);
    return {
      edge: { ...edge, results: replaced(edge.results, index, result) },
      requests: [{ kind: "hash", index, result, selectors: facts.reads[index] ?? WHOLE }],
    };
  }
  const part = definitionPart(key, input.output);
  switch (edge.phase) {
    case "keying":
      return keying(facts, { ...edge, parts: replaced(edge.parts, index, part) }, []);
    case "keyed":
    case "gathering": {
      // The input read other files than in its key. Edges that have not continued yet use the key of what was read.
      const parts = edge.parts.with(index, part);
      const renamed = keyOf(facts.op, parts);
      return {
        edge: { ...edge, key: renamed, parts },
        requests: [{ kind: "announce", key: renamed, result: null }],
      };
    }
    default:
      throw unexpected(edge, message);
  }
}

function digest(facts: EdgeFacts, edge: Edge, index: number, value: Digest): Step {
  const part = contentPart(value);
  if (edge.phase === "keying")
    return keying(facts, { ...edge, parts: replaced(edge.parts, index, part) }, []);
  if (edge.phase === "hashing") {
    return hashing(facts, { ...edge, content: replaced(edge.content, index, part) }, []);
  }
  throw unexpected(edge, { kind: "digest", index, digest: value });
}

function inputResult(facts: EdgeFacts, edge: Edge, index: number, result: Result): Step {
  if (edge.phase !== "keying" && edge.phase !== "gathering") {
    throw unexpected(edge, { kind: "input-result", index, result });
  }
  const results = replaced(edge.results, index, result);
  return edge.phase === "keying"
    ? { edge: { ...edge, results }, requests: [] }
    : gathering(facts, { ...edge, results });
}

/** Are all parts of the key known? Then the vertex has its key. */
function keying(
  facts: EdgeFacts,
  edge: Edge & { readonly phase: "keying" },
  before: readonly Request[],
): Step {
  const parts = complete(edge.parts);
  if (parts === null) return { edge, requests: before };
  const key = keyOf(facts.op, parts);
  const requests: Request[] = [...before, { kind: "announce", key, result: null }];
  if (!edge.wanted) return { edge: { phase: "keyed", key, parts, results: edge.results }, requests };
  const next = pursue(facts, key, parts, edge.results, asksByDefinition(facts));
  return { edge: next.edge, requests: [...requests, ...next.requests] };
}

/** Has a key and is requested: look up by definition, or request the results of the inputs. ask: they are not requested yet. */
function pursue(
  facts: EdgeFacts,
  key: CacheKey,
  parts: readonly KeyPart[],
  results: Known<Result>,
  ask: boolean,
): Step {
  if (asksByDefinition(facts)) {
    return {
      edge: {
        phase: "looking-up",
        by: "definition",
        key,
        parts: { definition: parts, result: null, content: null },
        results,
      },
      requests: [{ kind: "look-up", by: "definition", key, aliases: [] }],
    };
  }
  return gather(facts, key, parts, results, ask);
}

function gather(
  facts: EdgeFacts,
  key: CacheKey,
  parts: readonly KeyPart[],
  results: Known<Result>,
  ask: boolean,
): Step {
  const next = gathering(facts, { phase: "gathering", key, parts, results });
  return ask ? { edge: next.edge, requests: [...wantMissing(results), ...next.requests] } : next;
}

function gathering(facts: EdgeFacts, edge: Edge & { readonly phase: "gathering" }): Step {
  const results = complete(edge.results);
  if (results === null) return { edge, requests: [] };
  const { key, parts: definition } = edge;
  if (facts.inputs.length === 0) return run({ definition, result: null, content: null }, key, results); // one name only
  if (facts.sort === "layers") {
    const made = facts.stack(results);
    if (made !== null) return settle(key, [made], "made");
  }
  const parts: Parts = {
    definition,
    result: definition.map((part, index) =>
      isContentPart(part) ? part : resultPart(results[index] as Result, part),
    ),
    content: null,
  };
  if (facts.trust === "none") return contents(facts, key, parts, results);
  return lookUp(facts, "result", key, parts, results);
}

function missed(facts: EdgeFacts, edge: Edge & { readonly phase: "looking-up" }): Step {
  if (edge.by === "definition") return gather(facts, edge.key, edge.parts.definition, edge.results, true);
  const results = complete(edge.results);
  if (results === null) throw unexpected(edge, { kind: "missed" });
  if (edge.by === "result") return contents(facts, edge.key, edge.parts, results);
  return run(edge.parts, edge.key, results);
}

/** After the result key: hash those inputs that may be identified by content and are not yet. */
function contents(facts: EdgeFacts, key: CacheKey, parts: Parts, results: readonly Result[]): Step {
  const known = parts.result ?? parts.definition;
  const content = known.map((part, index) =>
    isContentPart(part) || facts.reads[index] === null ? part : null,
  );
  if (!content.includes(null)) return run(parts, key, results);
  const requests = content.flatMap((part, index): Request[] => {
    const [result, selectors] = [results[index], facts.reads[index]];
    return part === null && result && selectors ? [{ kind: "hash", index, result, selectors }] : [];
  });
  return { edge: { phase: "hashing", key, parts, content, results }, requests };
}

function hashing(
  facts: EdgeFacts,
  edge: Edge & { readonly phase: "hashing" },
  before: readonly Request[],
): Step {
  const content = complete(edge.content);
  if (content === null) return { edge, requests: before };
  const parts = { ...edge.parts, content };
  if (facts.trust === "none") return run(parts, edge.key, edge.results);
  return lookUp(facts, "content", edge.key, parts, edge.results);
}

/** Looks up the newest key; one that was looked up before (equal parts) is a miss. */
function lookUp(
  facts: EdgeFacts,
  by: "result" | "content",
  key: CacheKey,
  parts: Parts,
  results: readonly Result[],
): Step {
  const keys = keysOf(facts.op, parts);
  const asked = keyOf(facts.op, (by === "result" ? parts.result : parts.content) ?? parts.definition);
  const edge: Edge & { readonly phase: "looking-up" } = { phase: "looking-up", by, key, parts, results };
  if (asked === key && asksByDefinition(facts)) return missed(facts, edge);
  return {
    edge,
    requests: [{ kind: "look-up", by, key: asked, aliases: keys.filter((other) => other !== asked) }],
  };
}

function run(parts: Parts, key: CacheKey, results: readonly Result[]): Step {
  return { edge: { phase: "running", key }, requests: [{ kind: "run", parts, results }] };
}

/** Users get a changed key before they get the result, so none of them records under the old one. */
function ran(facts: EdgeFacts, named: CacheKey | null, outputs: Known<Result>, key: CacheKey | null): Step {
  const settled = settle(key, outputs, "ran");
  if (facts.sort === "source" && named === null) {
    const result = outputs[0] ?? null; // fetched without a name: its users may hash it now
    return { edge: settled.edge, requests: [{ kind: "announce", key: null, result }, ...settled.requests] };
  }
  if (key === named) return settled;
  return { edge: settled.edge, requests: [{ kind: "announce", key, result: null }, ...settled.requests] };
}

function settle(
  key: CacheKey | null,
  outputs: Known<Result>,
  how: (Request & { kind: "settle" })["how"],
): Step {
  return { edge: { phase: "settled", key, outputs }, requests: [{ kind: "settle", outputs, how }] };
}

/** Ops on layers are first computed directly, which is cheaper than a lookup; forced ones and their users differ. */
function asksByDefinition(facts: EdgeFacts): boolean {
  return facts.trust === "all" && facts.sort !== "layers";
}

function wantMissing(results: Known<Result>): Request[] {
  return results.flatMap((result, index) =>
    result === null ? [{ kind: "want-input", index } as const] : [],
  );
}

function replaced<T>(list: Known<T>, index: number, value: T): Known<T> {
  return list.with(index, value);
}

function complete<T>(list: Known<T>): readonly T[] | null {
  return list.includes(null) ? null : (list as readonly T[]);
}

function unexpected(edge: Edge, message: Message): Error {
  return new Error(`an edge that is ${edge.phase} got "${message.kind}"`);
}
