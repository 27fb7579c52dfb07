import type { Digest } from "./graph/digest.ts";
import type { Op, Platform } from "./graph/op.ts";
import type { Result } from "./graph/request.ts";
declare const brand: unique symbol;
/** 64 hex digits that name a result. */
export type CacheKey = string & {
    readonly [brand]: "CacheKey";
};
/** What an op, or one input of it, adds to a key. */
export type KeyPart = string;
/** Fields of an op that count, by name; each value in full, so that a record can explain itself. */
export type Ingredients = Readonly<Record<string, string>>;
/** Key of an op over the parts of its inputs. `op` is opText(). */
export declare function keyOf(op: string, parts: readonly KeyPart[]): CacheKey;
/** What counts of an op by itself, as one text. It is hashed with the inputs, once, not before: a graph of 1,000 cached
 *  vertices is decided in hashes. */
export declare function opText(ingredients: Ingredients): string;
/** Name of an op whatever its inputs are. */
export declare function opName(op: string): string;
/** Part of an input that is named by how it is made. */
export declare function definitionPart(key: CacheKey, output: number): KeyPart;
/** Part of an input that is named by what it is; `definition` is its other name, for files that are no layers. */
export declare function resultPart(result: Result, definition: KeyPart): KeyPart;
/** Part of an input that is named by what the op reads of it. */
export declare function contentPart(digest: Digest): KeyPart;
/** Is the input named by content? In the parts of a definition key: it is live files. */
export declare function isContentPart(part: KeyPart): boolean;
/** Part of a source that was pinned. */
export declare function pinPart(digest: Digest): KeyPart;
/** What counts of an op, without its inputs. */
export declare function ingredientsOf(op: Op, platform: Platform | null): Ingredients;
export {};
