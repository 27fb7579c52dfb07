// One client's build: the part of a definition that its roots need, with everything known about each vertex.

import { ingredientsOf, type KeyPart, opName, opText } from "./cache-key.ts";
import { type Edge, type EdgeFacts, openEdge, type Request } from "./edge.ts";
import type { Input, Vertex, VertexNote } from "./graph/definition.ts";
import type { Digest } from "./graph/digest.ts";
import type { Op } from "./graph/op.ts";
import type { SolveRequest } from "./graph/request.ts";
import { readsOf } from "./selectors.ts";
import { stackLayers } from "./graph/stack.ts";

/** A vertex in one build. */
export interface Node {
  readonly vertex: Vertex;
  readonly note: VertexNote | null;
  readonly facts: EdgeFacts;
  /** The inputs of other vertices that refer to this one. */
  readonly users: { readonly node: Node; readonly index: number }[];
  /** Outputs that a root or a user needs. */
  readonly outputs: number[];
  /** The only mutable part: advance() returns the next one. */
  edge: Edge;
  /** Users that wait for the result. */
  readonly waiting: { readonly node: Node; readonly index: number }[];
  /** Users and roots that may still need the result; at zero the vertex is not needed any more. */
  interest: number;
  /** Its result was produced by work in this build, or depends on such a result. */
  isNew: boolean;
  /** It ran, and its output was unchanged. */
  isUnchanged: boolean;
  /** Its outcome so far, and the ingredients of its keys: for the trace. */
  end: StepEnd;
  readonly seen: {
    definition: readonly (KeyPart | null)[] | null;
    content: readonly (KeyPart | null)[] | null;
  };
  pin: Digest | null;
  /** Of a source that was pinned: what it stood for, in the words of provenance. */
  material: string | null;
}

export interface Job {
  readonly nodes: ReadonlyMap<Digest, Node>; // inputs before their users
  readonly roots: readonly Input[];
  /** The first requests of the new edges. */
  readonly first: readonly { readonly node: Node; readonly requests: readonly Request[] }[];
}

/** The vertices that the roots need, in the order of the definition. Throws for an incomplete definition (a bug: external
 *  definitions are checked when they are decoded). */
export function loadJob(request: SolveRequest, roots: readonly Input[]): Job {
  const { definition } = request;
  const needed = reachable(definition.vertices, roots);
  const nodes = new Map<Digest, Node>();
  const first: { node: Node; requests: readonly Request[] }[] = [];
  for (const vertex of definition.vertices.values()) {
    if (!needed.has(vertex.digest)) continue;
    const note = definition.notes.get(vertex.digest) ?? null;
    const below = vertex.inputs.map((input) => {
      const node = nodes.get(input.vertex);
      if (node === undefined)
        throw new Error(`definition: ${vertex.digest} comes before its input ${input.vertex}`);
      want(node, input.output);
      return node;
    });
    // What a definition in a file builds may depend on more than that file.
    const isForced = request.noCache || (note?.ignoreCache ?? false) || vertex.op.kind === "build";
    const isAbove = below.some((node) => node.facts.trust !== "all");
    const facts = factsOf(vertex, isForced ? "none" : isAbove ? "results" : "all");
    const { edge, requests } = openEdge(facts);
    const node: Node = {
      vertex,
      note,
      facts,
      users: [],
      outputs: [],
      edge,
      waiting: [],
      interest: 0,
      isNew: false,
      isUnchanged: false,
      end: "unreached",
      seen: { definition: null, content: null },
      pin: null,
      material: null,
    };
    below.forEach((input, index) => {
      input.users.push({ node, index });
      input.interest += 1;
    });
    nodes.set(vertex.digest, node);
    first.push({ node, requests });
  }
  for (const root of roots) {
    const node = nodes.get(root.vertex) as Node;
    want(node, root.output);
    node.interest += 1;
  }
  return { nodes, roots, first };
}

function want(node: Node, output: number): void {
  if (!node.outputs.includes(output)) node.outputs.push(output);
}

function factsOf(vertex: Vertex, trust: EdgeFacts["trust"]): EdgeFacts {
  const { op, inputs } = vertex;
  return {
    inputs,
    sort: op.kind === "source" ? "source" : op.kind === "merge" || op.kind === "diff" ? "layers" : "step",
    op: opText(ingredientsOf(op, vertex.platform)),
    reads: readsOf(op, inputs.length),
    trust,
    stack: (results) => (op.kind === "merge" || op.kind === "diff" ? stackLayers(op, results) : null),
  };
}

function reachable(vertices: ReadonlyMap<Digest, Vertex>, roots: readonly Input[]): ReadonlySet<Digest> {
  const seen = new Set<Digest>();
  const open = roots.map((root) => root.vertex);
  for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
    if (seen.has(digest)) continue;
    seen.add(digest);
    const vertex = vertices.get(digest);
    if (vertex === undefined) throw new Error(`definition: no vertex ${digest}`);
    for (const input of vertex.inputs) open.push(input.vertex);
  }
  return seen;
}

/** Guesses for ops never seen, in milliseconds; only their order of magnitude matters. */
const USUAL_MS: Readonly<Record<Op["kind"], number>> = {
  source: 500,
  exec: 1_000,
  file: 50,
  merge: 1,
  diff: 20,
  build: 1_000,
  passthrough: 1,
};

/** For each vertex the time from its start to the last result, along its longest chain of users. The longest starts
 *  first: starting it late would delay the whole build. */
export function chainsMs(job: Job, durationMs: (op: string) => number | null): ReadonlyMap<Digest, number> {
  const chains = new Map<Digest, number>();
  for (const node of [...job.nodes.values()].reverse()) {
    let after = 0;
    for (const user of node.users) after = Math.max(after, chains.get(user.node.vertex.digest) ?? 0);
    const own = durationMs(opName(node.facts.op)) ?? USUAL_MS[node.vertex.op.kind];
    chains.set(node.vertex.digest, own + after);
  }
  return chains;
}

/** Removes one user (or root) of a vertex. Returns the vertices that are no longer needed because of
 *  it, inputs before users; vertices for which `isOver` is true have ended and are skipped. */
export function release(job: Job, node: Node, isOver: (node: Node) => boolean): readonly Node[] {
  const spared: Node[] = [];
  const open = [node];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    next.interest -= 1;
    if (next.interest > 0 || isOver(next)) continue;
    spared.push(next);
    for (const input of next.facts.inputs) open.push(job.nodes.get(input.vertex) as Node);
  }
  return spared.reverse();
}

/** ran, failed: it was begun. cached: there was a result. unreached: nobody needed it, or it had not begun when the build ended. */
export type StepEnd = "ran" | "failed" | "cached" | "unreached";
