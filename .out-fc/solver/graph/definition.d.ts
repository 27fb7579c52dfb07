import type { Digest } from "./digest.ts";
import type { SourceRange } from "./error.ts";
import type { Op, Platform } from "./op.ts";
/** An edge: one output of a vertex. */
export interface Input {
    readonly vertex: Digest;
    readonly output: number;
}
export interface Vertex {
    readonly digest: Digest;
    readonly op: Op;
    readonly platform: Platform | null;
    readonly inputs: readonly Input[];
}
/** What may differ without being another step: never in a digest. */
export interface VertexNote {
    readonly name: string;
    readonly ignoreCache: boolean;
    readonly at: readonly SourceRange[];
    /** Steps with one group are shown as one (COPY --link and the like); null: none. */
    readonly group: {
        readonly id: string;
        readonly name: string;
        readonly weak: boolean;
    } | null;
}
export interface Definition {
    readonly vertices: ReadonlyMap<Digest, Vertex>;
    readonly notes: ReadonlyMap<Digest, VertexNote>;
    /** null: scratch, nothing to do. */
    readonly root: Input | null;
}
/** One definition out of several that share vertices; root is that of the last. */
export declare function mergeDefinitions(definitions: readonly Definition[]): Definition;
