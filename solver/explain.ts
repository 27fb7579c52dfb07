// Why a step ran: which parts of its key differ from those of the same step in the nearest earlier build. Pure.

import type { FileChange, SelectedFile } from "../cache/selection-files.ts";
import { compareSelections } from "../cache/selection-files.ts";
import { alignSteps, splitName } from "./align.ts";
import { compareOps, type OpChange } from "./explain-op.ts";
import type { Digest } from "./graph/digest.ts";
import type { InputTrace, StepTrace } from "./trace.ts";

/** One thing that differs. Values are null where there were none. */
export type Change =
  /** build: --no-cache; step: --no-cache-filter, or an ADD that is always requested again. */
  | { readonly kind: "no-cache"; readonly scope: "build" | "step" }
  /** No earlier build had this step. */
  | { readonly kind: "new-step" }
  /** Nothing differs, but the earlier result is not there any more (pruned, damaged), or that step never ended well. */
  | { readonly kind: "result-gone" }
  | ({ readonly kind: "file" } & FileChange)
  /** Files that are not listed: too many, or no list is kept. total: null when nobody knows. */
  | { readonly kind: "files"; readonly total: number | null }
  | OpChange
  | {
      readonly kind: "base-image";
      readonly image: string;
      readonly before: string | null;
      readonly after: string | null;
    }
  /** What a git, http or other address stands for. */
  | {
      readonly kind: "source";
      readonly address: string;
      readonly before: string | null;
      readonly after: string | null;
    }
  /** Another result below. before: the step that stood there, null when it is the same one. */
  | {
      readonly kind: "parent-step";
      readonly step: string;
      readonly vertex: Digest;
      readonly before: string | null;
      readonly ran: boolean;
    };

/** A step that ran, and why. */
export interface Explanation {
  readonly vertex: Digest;
  readonly step: string;
  readonly changes: readonly Change[];
  /** Set when its output is equal to an earlier one but for times: that one stands, and steps after it did not see a change. */
  readonly unchanged?: true;
}

export interface EarlierBuild {
  readonly steps: readonly StepTrace[];
  readonly buildArgs: Readonly<Record<string, string>>;
}

export interface ExplainContext {
  /** Values given with --build-arg now. */
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Names the Dockerfile declares with ARG and not with ENV: in the environment of a step they are build arguments. */
  readonly argNames: ReadonlySet<string>;
  /** Kept list of a selection. */
  readonly filesOf: (digest: Digest) => ReadonlyMap<string, SelectedFile> | null;
}

/** So many files are named for one step; the rest is counted. */
const FILES_MAX = 100;

/** Explains all steps that ran (or failed). `earlier`: the latest first; for each step the first that had it counts. */
export function explainSteps(
  steps: readonly StepTrace[],
  earlier: readonly EarlierBuild[],
  context: ExplainContext,
): readonly Explanation[] {
  const all = earlier.map(
    (build, at): Aligned => ({ steps, build, pairs: alignSteps(build.steps, steps, at === 0) }),
  );
  return steps.flatMap((step, index) => {
    if (step.end !== "ran" && step.end !== "failed") return [];
    const { vertex, name, unchanged } = step;
    const explanation = { vertex, step: name, ...(unchanged === true ? { unchanged } : {}) };
    if (step.forced !== null)
      return [{ ...explanation, changes: [{ kind: "no-cache" as const, scope: step.forced }] }];
    for (const aligned of all) {
      const before = aligned.build.steps[aligned.pairs[index] ?? -1];
      if (before === undefined) continue;
      return [{ ...explanation, changes: compare(step, before, aligned, context) }];
    }
    return [{ ...explanation, changes: [{ kind: "new-step" as const }] }];
  });
}

/** The steps of this build beside those of an earlier one. */
interface Aligned {
  readonly steps: readonly StepTrace[];
  readonly build: EarlierBuild;
  /** For each step the one of the earlier build that it was then. */
  readonly pairs: readonly (number | null)[];
}

function compare(
  step: StepTrace,
  before: StepTrace,
  aligned: Aligned,
  context: ExplainContext,
): readonly Change[] {
  const changes: Change[] = [
    ...compareOps(before, step, {
      argsBefore: aligned.build.buildArgs,
      argsNow: context.buildArgs,
      argNames: context.argNames,
    }),
    ...compareSources(before, step),
  ];
  const seen = new Set<string>();
  for (const [index, input] of step.inputs.entries()) {
    const other = before.inputs[index];
    for (const change of compareInputs(input, other, aligned, context)) {
      const key = JSON.stringify(change);
      if (!seen.has(key)) changes.push(change);
      seen.add(key);
    }
  }
  return changes.length > 0 ? changes : [{ kind: "result-gone" }];
}

function compareInputs(
  input: InputTrace,
  other: InputTrace | undefined,
  { steps, build, pairs }: Aligned,
  context: ExplainContext,
): readonly Change[] {
  const below = steps[input.step] as StepTrace;
  const ran = below.end === "ran" || below.end === "failed";
  if (other === undefined)
    return [{ kind: "parent-step", step: below.name, vertex: below.vertex, before: null, ran }];
  if (input.files !== null && other.files !== null) {
    return input.files === other.files ? [] : compareFiles(other.files, input.files, context);
  }
  const was = build.steps[other.step] as StepTrace;
  if (input.content !== null && input.content === other.content) return [];
  if (isSame(was, below) && input.output === other.output) return [];
  if (below.source !== null && was.source !== null) return compareSources(was, below);
  const moved = pairs[input.step] !== other.step;
  return [
    {
      kind: "parent-step",
      step: below.name,
      vertex: below.vertex,
      before: moved ? was.name : null,
      ran,
    },
  ];
}

/** Did both give the same, as far as is known? */
function isSame(a: StepTrace, b: StepTrace): boolean {
  if (a.made !== null && b.made !== null && a.made === b.made) return true;
  return a.key !== null && a.key === b.key && (a.made === null || b.made === null);
}

function compareFiles(before: Digest, after: Digest, context: ExplainContext): readonly Change[] {
  const [old, now] = [context.filesOf(before), context.filesOf(after)];
  if (old === null || now === null) return [{ kind: "files", total: null }];
  const all = compareSelections(old, now);
  const named: Change[] = all.slice(0, FILES_MAX).map((change) => ({ kind: "file", ...change }));
  if (all.length > FILES_MAX) named.push({ kind: "files", total: all.length - FILES_MAX });
  // Equal lists of different selections: what is a hard link to what.
  return named.length > 0 ? named : [{ kind: "files", total: 0 }];
}

const IMAGE = /^(?:docker-image|oci-layout):\/\//;

/** What an image, a commit or a download was, and is. */
function compareSources(before: StepTrace, step: StepTrace): readonly Change[] {
  const [old, now] = [before.source, step.source];
  if (old === null || now === null) return [];
  if (old.identifier === now.identifier && old.pin === now.pin) return [];
  const [oldName, oldDigest] = splitDigest(old.identifier);
  const [name, digest] = splitDigest(now.identifier);
  if (IMAGE.test(now.identifier)) {
    const isOther = oldName !== name;
    return [
      {
        kind: "base-image",
        image: imageName(name, step),
        before: isOther ? imageName(oldName, before) : (oldDigest ?? old.pin),
        after: isOther ? imageName(name, step) : (digest ?? now.pin),
      },
    ];
  }
  if (now.pin === null) return [];
  const isOther = old.identifier !== now.identifier;
  return [
    {
      kind: "source",
      address: now.identifier,
      before: isOther ? old.identifier : old.pin,
      after: isOther ? now.identifier : now.pin,
    },
  ];
}

function splitDigest(identifier: string): [name: string, digest: string | null] {
  const at = identifier.indexOf("@sha256:");
  return at < 0 ? [identifier, null] : [identifier.slice(0, at), identifier.slice(at + 1)];
}

/** As a Dockerfile has it: without the scheme and Docker Hub's prefix; of a layout on disk the name of the context. */
function imageName(identifier: string, step: StepTrace): string {
  if (identifier.startsWith("oci-layout://")) return splitName(step.name).stage || identifier;
  return identifier.replace(/^docker-image:\/\//, "").replace(/^docker\.io\/(?:library\/)?/, "");
}
