import type { Vertex, VertexNote } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { BuildError } from "./graph/error.ts";
import type { Emit } from "./graph/event.ts";
export interface Reporter {
    /** For the events of others (log, bytes…); a second "started" of a vertex is dropped. */
    readonly emit: Emit;
    started(vertex: Digest): void;
    /** The vertex is over. Later calls for it do nothing. */
    ended(vertex: Digest, how: "cached" | "done"): void;
    failed(vertex: Digest, error: BuildError): void;
    /** All that have started and not ended are cancelled. */
    cancelled(): void;
}
/** Announces the vertices, in order, and keeps count from then on. */
export declare function openReporter(vertices: Iterable<{
    readonly vertex: Vertex;
    readonly note: VertexNote | null;
}>, emit: Emit, nowMs: () => number): Reporter;
