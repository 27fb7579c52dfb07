// Definition: the DAG that frontends produce and the solver runs.

import type { Digest } from "./digest.ts";
import type { SourceRange } from "./error.ts";
import type { Op, Platform } from "./op.ts";

/** An edge: one output of a vertex. */
export interface Input {
  readonly vertex: Digest;
  readonly output: number;
}

export interface Vertex {
  readonly digest: Digest; // sha256 of the LLB bytes of op, platform and inputs (llb.ts makes it)
  readonly op: Op;
  readonly platform: Platform | null;
  readonly inputs: readonly Input[];
}

/** Metadata that does not change a step's identity: never in a digest. */
export interface VertexNote {
  readonly name: string; // "[build 2/4] RUN make"
  readonly ignoreCache: boolean;
  readonly at: readonly SourceRange[];
  /** Steps of one group are displayed as one (COPY --link and the like); null: none. */
  readonly group: { readonly id: string; readonly name: string; readonly weak: boolean } | null;
}

export interface Definition {
  readonly vertices: ReadonlyMap<Digest, Vertex>; // inputs before their users
  readonly notes: ReadonlyMap<Digest, VertexNote>;
  /** null: scratch, nothing to do. */
  readonly root: Input | null;
}

/** Merges definitions that share vertices; the root is that of the last. */
export function mergeDefinitions(definitions: readonly Definition[]): Definition {
  const vertices = new Map<Digest, Vertex>();
  const notes = new Map<Digest, VertexNote>();
  let root: Input | null = null;
  for (const definition of definitions) {
    for (const [digest, vertex] of definition.vertices) vertices.set(digest, vertex);
    for (const [digest, note] of definition.notes) {
      const known = notes.get(digest);
      notes.set(
        digest,
        known === undefined
          ? note
          : {
              ...known,
              ignoreCache: known.ignoreCache || note.ignoreCache,
              at: known.at.length > 0 ? known.at : note.at,
            },
      );
    }
    root = definition.root;
  }
  return { vertices, notes, root };
}
