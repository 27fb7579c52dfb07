import { type Edge, type EdgeFacts, type Request } from "./edge.ts";
import type { Input, Vertex, VertexNote } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { SolveRequest } from "./graph/request.ts";
/** A vertex in one build. */
export interface Node {
    readonly vertex: Vertex;
    readonly note: VertexNote | null;
    readonly facts: EdgeFacts;
    /** Inputs of others that this is. */
    readonly users: {
        readonly node: Node;
        readonly index: number;
    }[];
    /** Outputs that a root or a user takes. */
    readonly outputs: number[];
    /** The one thing that changes: advance() makes the next. */
    edge: Edge;
    /** Users that wait for the result. */
    readonly waiting: {
        readonly node: Node;
        readonly index: number;
    }[];
    /** Users and roots that may still come for the result; at none the vertex is not needed any more. */
    interest: number;
    /** Its result came out of work done in this build, or is made of such. */
    isNew: boolean;
}
export interface Job {
    readonly nodes: ReadonlyMap<Digest, Node>;
    readonly roots: readonly Input[];
    /** What the new edges ask for first. */
    readonly first: readonly {
        readonly node: Node;
        readonly requests: readonly Request[];
    }[];
}
/** The vertices that the roots need, in the order of the definition. Throws for a definition with holes (a bug: who
 *  reads definitions from outside checks them). */
export declare function loadJob(request: SolveRequest, roots: readonly Input[]): Job;
/** For each vertex the time from its start to the last result, along its longest chain of users. What is longest goes
 *  first: starting it late would make the whole build late. */
export declare function chainsMs(job: Job, durationMs: (op: string) => number | null): ReadonlyMap<Digest, number>;
/** Takes away the interest of one user (or root) in a vertex. Gives the vertices that nobody can need any more through
 *  it, inputs before users; `isOver` tells which have their own end and are passed by. */
export declare function release(job: Job, node: Node, isOver: (node: Node) => boolean): readonly Node[];
