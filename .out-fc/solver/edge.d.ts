import { type CacheKey, type KeyPart } from "./cache-key.ts";
import type { Input } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { Result } from "./graph/request.ts";
import type { Pin } from "../worker/worker.ts";
import type { Selector } from "../worker/keeper/messages.ts";
/** What never changes about a vertex. */
export interface EdgeFacts {
    readonly inputs: readonly Input[];
    /** source: pinned first. layers: made of its inputs' layers, mostly without work. step: done by the worker. */
    readonly sort: "source" | "layers" | "step";
    /** opText() of what counts of the op. */
    readonly op: string;
    /** readsOf() the op. */
    readonly reads: readonly (readonly Selector[] | null)[];
    /**
     * Which records may answer. all: any. results: something below is forced to run anew, so only records of exactly the
     * results it gives. none: this vertex itself is forced.
     */
    readonly trust: "all" | "results" | "none";
    /** The result of a `layers` op over these inputs when it can be had without the worker. */
    readonly stack: (results: readonly Result[]) => Result | null;
}
/** The parts that make a vertex's keys; all but `definition` grow as more is known. */
export interface Parts {
    readonly definition: readonly KeyPart[];
    readonly result: readonly KeyPart[] | null;
    readonly content: readonly KeyPart[] | null;
}
type Known<T> = readonly (T | null)[];
type LookUp = "definition" | "result" | "content";
export type Edge = {
    readonly phase: "pinning";
    readonly wanted: boolean;
} | {
    readonly phase: "keying";
    readonly wanted: boolean;
    readonly parts: Known<KeyPart>;
    readonly results: Known<Result>;
} | {
    readonly phase: "keyed";
    readonly key: CacheKey;
    readonly parts: readonly KeyPart[];
    readonly results: Known<Result>;
} | {
    readonly phase: "gathering";
    readonly key: CacheKey;
    readonly parts: readonly KeyPart[];
    readonly results: Known<Result>;
} | {
    readonly phase: "hashing";
    readonly key: CacheKey;
    readonly parts: Parts;
    readonly content: Known<KeyPart>;
    readonly results: readonly Result[];
} | {
    readonly phase: "looking-up";
    readonly by: LookUp;
    readonly key: CacheKey;
    readonly parts: Parts;
    readonly results: Known<Result>;
} | {
    readonly phase: "running";
    readonly key: CacheKey | null;
} | {
    readonly phase: "settled";
    readonly key: CacheKey | null;
    readonly outputs: Known<Result>;
};
export type Message = {
    readonly kind: "want";
} | {
    readonly kind: "pinned";
    readonly pin: Pin;
}
/** key null: the input is live files, and this is its result. May come again with another key until the input settled. */
 | {
    readonly kind: "input-key";
    readonly index: number;
    readonly key: CacheKey | null;
    readonly result: Result | null;
} | {
    readonly kind: "digest";
    readonly index: number;
    readonly digest: Digest;
} | {
    readonly kind: "input-result";
    readonly index: number;
    readonly result: Result;
} | {
    readonly kind: "found";
    readonly outputs: Known<Result>;
} | {
    readonly kind: "missed";
}
/** key: that of what was really read; the same as asked for unless live files changed meanwhile. */
 | {
    readonly kind: "ran";
    readonly outputs: Known<Result>;
    readonly key: CacheKey | null;
};
export type Request = {
    readonly kind: "pin";
} | {
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
} | {
    readonly kind: "want-input";
    readonly index: number;
}
/** parts null: a source without a name; its result is recorded nowhere. */
 | {
    readonly kind: "run";
    readonly parts: Parts | null;
    readonly results: readonly Result[];
} | {
    readonly kind: "announce";
    readonly key: CacheKey | null;
    readonly result: Result | null;
} | {
    readonly kind: "settle";
    readonly outputs: Known<Result>;
    /** pinned: known without work. found: from a record. made: stacked from inputs. ran: by the worker. */
    readonly how: "pinned" | "found" | "made" | "ran";
};
export interface Step {
    readonly edge: Edge;
    readonly requests: readonly Request[];
}
/** A vertex nobody has asked for yet. Its keys are made all the same, those of its users need them. */
export declare function openEdge(facts: EdgeFacts): Step;
/** The next state and what is to be done. Throws for a message that its state cannot get: a bug in the scheduler. */
export declare function advance(facts: EdgeFacts, edge: Edge, message: Message): Step;
/** Keys of a step from its parts, each once: by definition, by result, by content. */
export declare function keysOf(op: string, parts: Parts): readonly CacheKey[];
/** What an edge in this state waits for, in words; null: for nothing. A state that waits for nothing must be an end. */
export declare function waitsFor(edge: Edge): string | null;
export {};
