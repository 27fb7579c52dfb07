import type { Definition, Input, Vertex, VertexNote } from "./definition.ts";
import type { Op, Platform } from "./op.ts";
/** Bytes of one op; a bigger one is refused. BuildKit's gRPC messages end at 16 MiB. */
export declare const OP_MAX_BYTES: number;
/** Inputs, mounts, actions or outputs of one op. */
export declare const OP_MAX_PARTS = 10000;
/** What the bytes of one op say. */
export interface DecodedOp {
    readonly op: Op;
    readonly platform: Platform | null;
    readonly inputs: readonly Input[];
}
/** LLB bytes of an op, the same on every machine for the same arguments. */
export declare function encodeOp(op: Op, platform: Platform | null, inputs: readonly Input[]): Uint8Array;
/** The vertex of an op; its digest is that of the LLB bytes. */
export declare function makeVertex(op: Op, platform: Platform | null, inputs: readonly Input[]): Vertex;
/** What LLB bytes say. Throws USAGE for bytes that are no op we know, LIMIT_EXCEEDED for too big ones. */
export declare function decodeOp(data: Uint8Array): DecodedOp;
/** Bytes of the last entry of a definition: an op without a body whose only input is the result. */
export declare function encodeHead(root: Input): Uint8Array;
/** The result that a definition's last entry points at. Throws USAGE when it is no such entry. */
export declare function decodeHead(data: Uint8Array): Input;
/** Collects vertices while a graph is built, inputs first. */
export interface GraphBuilder {
    /** Adds a vertex (again: the same one) and returns its first output. */
    add(op: Op, platform: Platform | null, inputs: readonly Input[], note: VertexNote): Input;
    /** What `root` reaches, and nothing else; null is scratch. */
    definition(root: Input | null): Definition;
}
export declare function openGraph(): GraphBuilder;
