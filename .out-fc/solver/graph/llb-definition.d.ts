import type { Definition } from "./definition.ts";
/** Vertices of one definition; more are refused. */
export declare const DEFINITION_MAX_VERTICES = 100000;
/** Bytes of one definition; more are refused. */
export declare const DEFINITION_MAX_BYTES: number;
/** Protocol bytes of a definition. sources: text of the files that notes point into, for the other side's excerpts. */
export declare function encodeDefinition(definition: Definition, sources?: ReadonlyMap<string, Uint8Array>): Uint8Array;
/** What protocol bytes say. Throws USAGE or DIGEST_INVALID for what is no definition, LIMIT_EXCEEDED for too big ones. */
export declare function decodeDefinition(data: Uint8Array): Definition;
