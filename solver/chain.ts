// The key chain of a finished build: every result with all keys under which another machine can look it up. For the export of
// caches.

import type { ChainStep } from "../cache/remote-cache/chain.ts";
import {
  type CacheKey,
  contentPart,
  definitionPart,
  isContentPart,
  type KeyPart,
  keyOf,
  resultPart,
} from "./cache-key.ts";
import { keysOf } from "./edge.ts";
import type { Digest } from "./graph/digest.ts";
import type { LayerId, Result } from "./graph/request.ts";
import type { Job, Node } from "./job.ts";
import type { Found, ResultRecords } from "./records.ts";

/** All steps of a solved job that have a key, inputs before their users. Also results that a hit above made unnecessary, as far as
 *  they are recorded. */
export function chainOf(job: Job, records: ResultRecords): readonly ChainStep[] {
  const steps: ChainStep[] = [];
  const index = new Map<Digest, number>();
  const results = new Map<Digest, readonly (Result | null)[]>();
  for (const node of job.nodes.values()) {
    const key = keyIn(node);
    if (key === null) continue; // live files, or a step that nobody needed so early that it has no name
    const found = foundOf(node, records);
    const outputs = outputsOf(node, found, results);
    results.set(node.vertex.digest, outputs);
    index.set(node.vertex.digest, steps.length);
    const definition = definitionOf(node, job, found);
    steps.push({
      name: node.note?.name ?? node.vertex.op.kind,
      key,
      outputs: outputs.map((output) => (output?.kind === "layers" ? output.layers : null)),
      isRecorded: found !== null && node.note?.exportCache !== false,
      createdAtMs: found?.record.createdAtMs ?? 0,
      inputs: node.facts.inputs.map((input, at) => {
        const step = index.get(input.vertex);
        if (step !== undefined) return { step, output: input.output };
        const part = definition?.[at];
        return part !== undefined && isContentPart(part)
          ? { content: part.slice("content:".length) as Digest }
          : null;
      }),
      otherKeys: (rename) =>
        found === null || definition === null
          ? []
          : otherKeys({ node, key, found, definition }, results, rename),
    });
  }
  return steps;
}

/** Sources of a solved job that have names, and what they stood for. */
export function materialsOf(job: Job): ReadonlyMap<Digest, string> {
  const known = [...job.nodes.values()].flatMap(({ vertex, material }): [Digest, string][] =>
    material === null ? [] : [[vertex.digest, material]],
  );
  return new Map(known);
}

/** Results of the steps of a solved job by output, as far as they are known: also of those that a hit above made unnecessary. */
export function resultsOf(job: Job, records: ResultRecords): ReadonlyMap<Digest, readonly (Result | null)[]> {
  const results = new Map<Digest, readonly (Result | null)[]>();
  for (const node of job.nodes.values()) {
    results.set(node.vertex.digest, outputsOf(node, foundOf(node, records), results));
  }
  return results;
}

function keyIn({ edge }: Node): CacheKey | null {
  return "key" in edge ? edge.key : null;
}

/** What is recorded of a step or source. */
function foundOf(node: Node, records: ResultRecords): Found | null {
  const key = keyIn(node);
  const isKept = node.facts.sort === "step" || node.facts.sort === "source";
  return key === null || !isKept ? null : records.find(key, node.outputs);
}

function outputsOf(
  node: Node,
  found: Found | null,
  results: ReadonlyMap<Digest, readonly (Result | null)[]>,
): readonly (Result | null)[] {
  if (node.edge.phase === "settled") return node.edge.outputs;
  if (found !== null) return found.outputs;
  if (node.facts.sort !== "layers") return [];
  const inputs = node.facts.inputs.map((input) => results.get(input.vertex)?.[input.output] ?? null);
  return inputs.includes(null) ? [] : [node.facts.stack(inputs as Result[])];
}

/** The parts the key was made of, when they can be told for sure. */
function definitionOf(node: Node, job: Job, found: Found | null): readonly KeyPart[] | null {
  const parts = node.facts.inputs.map((input, at): KeyPart | null => {
    const edge = job.nodes.get(input.vertex)?.edge;
    const key = edge !== undefined && "key" in edge ? edge.key : null;
    if (key !== null) return definitionPart(key, input.output);
    const noted = found?.record.ingredients[`input ${at}`]; // files are known by content alone
    return noted !== undefined && isContentPart(noted) ? noted : null;
  });
  if (parts.includes(null)) return null;
  const key = "key" in node.edge ? node.edge.key : null;
  return keyOf(node.facts.op, parts as KeyPart[]) === key ? (parts as KeyPart[]) : null;
}

/** A step with a record, and the parts its key was made of. */
interface RecordedStep {
  readonly node: Node;
  readonly key: CacheKey;
  readonly found: Found;
  readonly definition: readonly KeyPart[];
}

/** Keys by result and by content, with the names that layers have on a machine that imports them. */
function otherKeys(
  { node, key, found, definition }: RecordedStep,
  results: ReadonlyMap<Digest, readonly (Result | null)[]>,
  rename: (layers: readonly LayerId[]) => readonly LayerId[] | null,
): readonly CacheKey[] {
  const byResult = node.facts.inputs.map((input, at): KeyPart | null => {
    const part = definition[at] as KeyPart;
    if (isContentPart(part)) return part;
    const result = results.get(input.vertex)?.[input.output] ?? null;
    if (result?.kind !== "layers") return null;
    const layers = rename(result.layers);
    return layers === null ? null : resultPart({ kind: "layers", layers }, part);
  });
  const byContent = byResult.map((part, at): KeyPart | null => {
    const noted = found.record.ingredients[`input ${at} is`];
    const digest = noted !== undefined && isContentPart(noted) ? noted.slice("content:".length) : null;
    return digest === null || node.facts.reads[at] === null ? part : contentPart(digest as Digest);
  });
  const whole = (parts: readonly (KeyPart | null)[]): readonly KeyPart[] | null =>
    parts.includes(null) ? null : (parts as readonly KeyPart[]);
  const parts = { definition, result: whole(byResult), content: whole(byContent) };
  return keysOf(node.facts.op, parts).filter((other) => other !== key);
}
