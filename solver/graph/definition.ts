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
  /** The bytes the digest is of, where they came from outside: another encoder's need not be those of llb.ts. Who changes the op leaves
   *  them out. */
  readonly encoded?: Uint8Array;
}

/** Limits of one step beside those of its build; null: none. Units: bytes, microseconds; swap counts with memory. */
export interface StepResources {
  readonly memoryBytes: number | null;
  readonly memorySwapBytes: number | null;
  readonly cpuShares: number | null;
  readonly cpuPeriodUs: number | null;
  readonly cpuQuotaUs: number | null;
  readonly cpusetCpus: string | null;
  readonly cpusetMems: string | null;
}

/** Metadata that does not change a step's identity: never in a digest. */
export interface VertexNote {
  readonly name: string; // "[build 2/4] RUN make"
  readonly ignoreCache: boolean;
  readonly at: readonly SourceRange[];
  /** Steps of one group are displayed as one (COPY --link and the like); null: none. */
  readonly group: { readonly id: string; readonly name: string; readonly weak: boolean } | null;
  /** Left out: those of the build alone. */
  readonly resources?: StepResources;
  /** Whether its result goes into exported caches; left out: as the kind of the cache has it. */
  readonly exportCache?: boolean;
}

/** A file that steps are made of, such as a Dockerfile: pb.SourceInfo. */
export interface SourceFile {
  readonly data: Uint8Array;
  readonly language: string; // "Dockerfile"
  /** Where it came from, as protocol bytes of a definition; empty: not known. */
  readonly definition: Uint8Array;
}

export interface Definition {
  readonly vertices: ReadonlyMap<Digest, Vertex>; // inputs before their users
  readonly notes: ReadonlyMap<Digest, VertexNote>;
  /** null: scratch, nothing to do. */
  readonly root: Input | null;
  /** The files that notes point into, by name, where the definition brought them along. */
  readonly sources?: ReadonlyMap<string, SourceFile>;
}

/** The vertices that `root` needs, and its own: inputs before their users, depth first. Without recursion: graphs of clients may be deep; digests cannot
 *  form a cycle, since a vertex's bytes hold those of its inputs. Throws what `missing` makes where there is no vertex. */
export function inputsFirst(
  vertices: ReadonlyMap<Digest, Vertex>,
  root: Input,
  missing: (digest: Digest) => Error,
): Map<Digest, Vertex> {
  const sorted = new Map<Digest, Vertex>();
  const stack: { readonly vertex: Vertex; next: number }[] = [];
  const enter = (digest: Digest): void => {
    if (sorted.has(digest)) return;
    const vertex = vertices.get(digest);
    if (vertex === undefined) throw missing(digest);
    stack.push({ vertex, next: 0 });
  };
  enter(root.vertex);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const input = top.vertex.inputs[top.next++];
    if (input !== undefined) {
      enter(input.vertex);
    } else {
      sorted.set(top.vertex.digest, top.vertex);
      stack.pop();
    }
  }
  return sorted;
}

/** Merges definitions that share vertices; the root is that of the last. */
export function mergeDefinitions(definitions: readonly Definition[]): Definition {
  const vertices = new Map<Digest, Vertex>();
  const notes = new Map<Digest, VertexNote>();
  const sources = new Map<string, SourceFile>();
  let root: Input | null = null;
  for (const definition of definitions) {
    for (const [name, file] of definition.sources ?? []) sources.set(name, file);
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
  return { vertices, notes, root, ...(sources.size === 0 ? {} : { sources }) };
}
