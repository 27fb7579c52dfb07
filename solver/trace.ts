// A stored description of a build, step by step, so that the next build can report what changed.

import { createHash } from "node:crypto";
import { type Ingredients, ingredientsOf, type KeyPart } from "./cache-key.ts";
import type { Edge } from "./edge.ts";
import type { Digest } from "./graph/digest.ts";
import { redactUrl } from "./graph/error.ts";
import type { Result } from "./graph/request.ts";
import type { Job, Node, StepEnd } from "./job.ts";
import { kept } from "./records.ts";

/** One step of a build. Inputs stand before their users. */
export interface StepTrace {
  readonly vertex: Digest;
  readonly name: string;
  readonly end: StepEnd;
  /** Set when it ran and made what it had made before. */
  readonly unchanged?: true;
  /** Why records were not asked; null: they were. */
  readonly forced: "build" | "step" | null;
  /** Key by definition; null: it has none. */
  readonly key: string | null;
  /** Name of what came out; null: not known. */
  readonly made: string | null;
  readonly op: Ingredients;
  /** Address of a source as it was written, and what it stood for. */
  readonly source: { readonly identifier: string; readonly pin: string | null } | null;
  readonly inputs: readonly InputTrace[];
}

export interface InputTrace {
  /** Index in the list of steps. */
  readonly step: number;
  readonly output: number;
  /** Digest of what is read of live files. */
  readonly files: Digest | null;
  /** Digest of what is read of layers, where that was asked for. */
  readonly content: string | null;
}

/** Remembers what an edge knows in this state of the parts of its keys; a settled one has forgotten it. */
export function noteParts(node: Node, edge: Edge): void {
  switch (edge.phase) {
    case "keying":
    case "keyed":
    case "gathering":
      node.seen.definition = edge.parts;
      return;
    case "hashing":
    case "looking-up":
      node.seen.definition = edge.parts.definition;
      node.seen.content = edge.phase === "hashing" ? edge.content : edge.parts.content;
      return;
    case "pinning":
    case "running":
    case "settled":
      return;
  }
}

/** All steps of a job as they stand now. */
export function traceJob(job: Job, noCache: boolean): readonly StepTrace[] {
  const index = new Map<Digest, number>();
  const steps: StepTrace[] = [];
  for (const node of job.nodes.values()) {
    index.set(node.vertex.digest, steps.length);
    steps.push(traceNode(node, index, noCache));
  }
  return steps;
}

/** Longer than in records: the environment of a step is compared variable by variable. */
const INGREDIENT_MAX_CHARS = 32_768;

function traceNode(node: Node, index: ReadonlyMap<Digest, number>, noCache: boolean): StepTrace {
  const { vertex, note, edge } = node;
  const { op } = vertex;
  const { definition, content } = node.seen;
  return {
    vertex: vertex.digest,
    name: note?.name ?? op.kind,
    end: node.end,
    ...(node.isUnchanged && node.end === "ran" ? { unchanged: true } : {}),
    forced: noCache ? "build" : (note?.ignoreCache ?? false) ? "step" : null,
    key: "key" in edge ? edge.key : null,
    made: edge.phase === "settled" ? nameOfOutputs(edge.outputs) : null,
    op: kept(ingredientsOf(op, vertex.platform), INGREDIENT_MAX_CHARS),
    source: op.kind === "source" ? { identifier: redactUrl(op.identifier), pin: node.pin } : null,
    inputs: vertex.inputs.map((input, at) => ({
      step: index.get(input.vertex) as number,
      output: input.output,
      files: digestIn(definition?.[at]),
      content: digestIn(content?.[at]),
    })),
  };
}

function digestIn(part: KeyPart | null | undefined): Digest | null {
  return part?.startsWith("content:") ? (part.slice("content:".length) as Digest) : null;
}

function nameOfOutputs(outputs: readonly (Result | null)[]): string | null {
  if (outputs.some((output) => output?.kind === "files")) return null;
  const layers = outputs.map((output) => (output?.kind === "layers" ? output.layers : null));
  return createHash("sha256").update(JSON.stringify(layers)).digest("hex").slice(0, 16);
}
