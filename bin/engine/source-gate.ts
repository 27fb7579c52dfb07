// What the sources of a build have to pass before they are resolved or used: its policies, and the client's own judgement where it has one.
// BuildKit: solver/llbsolver/policy.go.

import type { Definition, Input, Vertex, VertexNote } from "../../solver/graph/definition.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { makeVertex } from "../../solver/graph/llb.ts";
import type { Platform, SourceOp } from "../../solver/graph/op.ts";
import type { BuildLock } from "./lock.ts";
import type { DescribeSource, VerifySource } from "./request.ts";
import type { SourceMetadata } from "./source-metadata.ts";
import {
  isSameSource,
  openPolicyRules,
  type SourcePolicy,
  withFullName,
  withoutStaleUrl,
} from "./source-policy.ts";

/** Questions about one source: those for more metadata, and those after it was converted. */
const QUESTIONS_MAX = 10;

export interface SourceGate {
  /** The source to be used in place of the one that was asked for: the same one, mostly. Throws SOURCE_DENIED, NOT_LOCKED. */
  source(source: SourceOp, platform: Platform | null, asking: Asking): Promise<SourceOp>;
  /** The graph with its sources as they are to be used. Throws SOURCE_DENIED, NOT_LOCKED with the step and its place. */
  graph(definition: Definition, roots: readonly Input[], asking: Asking): Promise<GovernedGraph>;
}

export interface GovernedGraph {
  readonly definition: Definition;
  readonly roots: readonly Input[];
}

export interface Asking {
  readonly signal: AbortSignal;
}

/** `describe`: what a source stands for; it has passed the policies. `lock`: what comes of it then is what it is locked to; null: there is none. */
export function openSourceGate(
  policies: readonly SourcePolicy[],
  {
    verify,
    describe,
    lock,
  }: {
    readonly verify: VerifySource | null;
    readonly describe: DescribeSource;
    readonly lock: BuildLock | null;
  },
): SourceGate {
  const rules = openPolicyRules(policies);
  const judged = new Map<string, Promise<SourceOp>>();
  const graphs = new WeakMap<Definition, Promise<GraphWithMoves>>();

  async function judge(asked: SourceOp, platform: Platform | null, { signal }: Asking): Promise<SourceOp> {
    const full = withFullName(asked);
    let source = await rules.evaluate(full, { signal });
    let metadata: SourceMetadata | null = null;
    for (let questions = 0; verify !== null; questions++) {
      if (questions >= QUESTIONS_MAX) throw new BuildError("SOURCE_DENIED", "too many policy requests");
      const answer = await verify({ source, platform, metadata }, { signal });
      if (answer.kind === "allow") break;
      if (answer.kind === "deny")
        throw new BuildError(
          "SOURCE_DENIED",
          `source ${JSON.stringify(printable(source.identifier))} not allowed by policy: action ${answer.action}`,
          { cause: answer.cause },
        );
      if (answer.kind === "convert") {
        source = await rules.evaluate(withFullName(withoutStaleUrl(source, answer.source)), { signal });
        metadata = null;
        continue;
      }
      if (!isSameSource(answer.source, source))
        throw new BuildError(
          "SOURCE_DENIED",
          `policy requested different source: ${JSON.stringify(printable(answer.source.identifier))} != ${JSON.stringify(printable(source.identifier))}`,
        );
      metadata = await describe(source, answer.question, { signal });
    }
    // One that passed under its full name stays as it was written.
    const passed = isSameSource(source, full) ? asked : source;
    return lock?.apply(passed) ?? passed;
  }

  function sourceOnce(source: SourceOp, platform: Platform | null, asking: Asking): Promise<SourceOp> {
    const attrs = Object.entries(source.attrs).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([source.identifier, attrs, platform]);
    const known = judged.get(key);
    if (known !== undefined) return known;
    const judgement = judge(source, platform, asking);
    judged.set(key, judgement);
    judgement.catch(() => judged.delete(key)); // told to who asked
    return judgement;
  }

  async function govern(definition: Definition, asking: Asking): Promise<GraphWithMoves> {
    const sources = new Map<Digest, SourceOp>();
    await Promise.all(
      [...definition.vertices.values()].map(async ({ digest, op, platform }) => {
        if (op.kind !== "source") return;
        try {
          sources.set(digest, await sourceOnce(op, platform, asking));
        } catch (error) {
          throw evaluating(error, digest, definition.notes.get(digest));
        }
      }),
    );
    return withSources(definition, sources);
  }

  return {
    async source(source, platform, asking) {
      try {
        return await sourceOnce(source, platform, asking);
      } catch (error) {
        throw prefixed(error, "could not resolve image due to policy");
      }
    },
    async graph(definition, roots, asking) {
      const known = graphs.get(definition) ?? govern(definition, asking);
      graphs.set(definition, known);
      known.catch(() => graphs.delete(definition)); // told to who asked
      const { moved, ...graph } = await known;
      return {
        definition: graph.definition,
        roots: roots.map((root) => ({ ...root, vertex: moved.get(root.vertex) ?? root.vertex })),
      };
    },
  };
}

interface GraphWithMoves {
  readonly definition: Definition;
  /** Steps that are others now, with all that are above a source that is another one. */
  readonly moved: ReadonlyMap<Digest, Digest>;
}

function withSources(definition: Definition, sources: ReadonlyMap<Digest, SourceOp>): GraphWithMoves {
  const moved = new Map<Digest, Digest>();
  const moves = ({ vertex }: Input): Digest => moved.get(vertex) ?? vertex;
  const vertices = new Map<Digest, Vertex>();
  const notes = new Map<Digest, VertexNote>();
  for (const [digest, vertex] of definition.vertices) {
    const op = sources.get(digest) ?? vertex.op;
    const isSame = op === vertex.op && vertex.inputs.every((input) => moves(input) === input.vertex);
    const next = isSame
      ? vertex
      : makeVertex(
          op,
          vertex.platform,
          vertex.inputs.map((input) => ({ ...input, vertex: moves(input) })),
        );
    if (!isSame) moved.set(digest, next.digest);
    vertices.set(next.digest, next);
    const note = definition.notes.get(digest);
    const known = notes.get(next.digest);
    if (note === undefined) continue;
    const ignoreCache = note.ignoreCache || (known?.ignoreCache ?? false);
    notes.set(next.digest, { ...(known ?? note), ignoreCache });
  }
  if (moved.size === 0) return { definition, moved };
  const { root } = definition;
  return {
    definition: { ...definition, vertices, notes, root: root && { ...root, vertex: moves(root) } },
    moved,
  };
}

function evaluating(error: unknown, vertex: Digest, note: VertexNote | undefined): unknown {
  const named = prefixed(error, "error evaluating the source policy");
  if (!(named instanceof BuildError)) return named;
  const { code, message, cause, hint } = named;
  return new BuildError(code, message, { cause, hint, vertex, at: note?.at[0] ?? null });
}

function prefixed(error: unknown, what: string): unknown {
  if (!(error instanceof BuildError) || error.code === "NOT_LOCKED") return error;
  const { code, message, cause, hint } = error;
  return new BuildError(code, `${what}: ${message}`, { cause: cause ?? error, hint });
}
