// Stages: names, bases and copy sources, and which stages a target needs. Only those are
// converted, and only their base images are resolved.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import { flagValue, flagValues } from "./flags.ts";
import { type Arg, checkDefaults, type From, type FromOptions, readFrom } from "./from-line.ts";
import { type FromValueOptions, openFromValues } from "./from-value.ts";
import type { Instruction, ParsedDockerfile } from "./instruction.ts";
import { atPlace } from "./place.ts";
import { mountFrom } from "./run-mounts.ts";
import { suggest } from "./suggest.ts";

const NO_SOURCES: readonly never[] = [];
/** The image that has nothing in it. */
export const SCRATCH_NAME = "scratch";
/** Stages of one file; more are refused. */
const STAGES_MAX = 10_000;

/** An instruction of a stage and the stages it takes files from: of a COPY one, of a RUN one for each mount. */
export interface Step {
  readonly instruction: Instruction;
  readonly sources: readonly (Stage | null)[];
  readonly isTrigger: boolean;
}

/** A stage of the file, or an image or context that is only named by --from. */
export interface Stage {
  readonly at: SourceRange;
  readonly name: string | null;
  readonly description: string;
  /** How its steps are shown; "" where there is only this one. */
  label: string;
  readonly baseName: string;
  readonly platform: Platform | null;
  readonly base: Stage | null;
  steps: readonly Step[];
  /** Stages copied from, and where. */
  readonly needs: Map<Stage, SourceRange>;
  /** False for what is only named by --from. */
  readonly isListed: boolean;
  /** A named context stands in its place: its instructions do not run, and what they need is not needed. */
  readonly isReplaced: boolean;
  /** Global arguments that FROM used. */
  readonly usedArgs: ReadonlySet<string>;
}

/** Names the stages of one file. */
export interface StageTable {
  readonly stages: readonly Stage[];
  byName(name: string): Stage | null;
  /** Adds triggers of its base in front of a stage's steps. True when a stage is needed that was not needed before. */
  addTriggers(stage: Stage, triggers: readonly Instruction[]): boolean;
}

/** What there is before the first FROM, and the stages as written. */
export function splitStages(parsed: ParsedDockerfile): {
  readonly globals: readonly Arg[];
  readonly stages: readonly { readonly from: From; readonly instructions: readonly Instruction[] }[];
} {
  const globals: Arg[] = [];
  const stages: { from: From; instructions: Instruction[] }[] = [];
  for (const instruction of parsed.instructions) {
    if (instruction.kind === "from") stages.push({ from: instruction, instructions: [] });
    else if (stages.length > 0) stages.at(-1)?.instructions.push(instruction);
    else if (instruction.kind === "arg") globals.push(instruction);
    else
      throw new BuildError("DOCKERFILE_SYNTAX", "no build stage in current context", { at: instruction.at });
  }
  if (stages.length === 0)
    throw new BuildError("DOCKERFILE_SYNTAX", "dockerfile contains no stages to build");
  if (stages.length > STAGES_MAX) throw new BuildError("LIMIT_EXCEEDED", `more than ${STAGES_MAX} stages`);
  return { globals, stages };
}

export interface PlanOptions extends FromOptions, FromValueOptions {
  /** Whether a named context is given for a stage; platform null: that of the target. */
  isReplaced(name: string, platform: Platform | null): boolean;
}

/** Reads all FROM lines and what copies from where. Throws for names that cannot be. */
export function planStages(
  written: ReturnType<typeof splitStages>["stages"],
  options: PlanOptions,
): StageTable {
  const stages: Stage[] = [];
  const names = new Map<string, Stage>();
  checkDefaults(
    written.map(({ from }) => from),
    options,
  );
  written.forEach(({ from }, index) => {
    const stage = openStage(from, index, names, options);
    stages.push(stage);
    if (stage.name !== null) names.set(stage.name, stage);
  });
  const numbered = [...stages];
  const byName = (name: string): Stage | null => names.get(name.toLowerCase()) ?? null;

  const source = (name: string, at: SourceRange): Stage => {
    const known = byName(name);
    if (known !== null) return known;
    const unlisted = unlistedStage(name, at);
    stages.push(unlisted);
    return unlisted;
  };
  const values = openFromValues(options);
  const link = (
    stage: Stage,
    instruction: Instruction,
    isTrigger: boolean,
    siblings: readonly Instruction[],
  ): Step => {
    if (instruction.kind !== "copy" && instruction.kind !== "run") {
      return { instruction, sources: NO_SOURCES, isTrigger };
    }
    const expand = (text: string): string =>
      text.includes("$") ? values.expand(text, instruction, siblings, () => stepsBelow(stage)) : text;
    const sources = readSources(instruction, source, numbered, expand);
    for (const needed of sources) if (needed !== null) stage.needs.set(needed, instruction.at);
    return { instruction, sources, isTrigger };
  };
  written.forEach(({ instructions }, index) => {
    const stage = numbered[index] as Stage;
    if (stage.isReplaced) return;
    stage.steps = instructions.map((instruction) => link(stage, instruction, false, instructions));
  });
  if (stages.length === 1 && stages[0] !== undefined) stages[0].label = "";
  return {
    stages,
    byName,
    addTriggers: (stage, triggers) => {
      const steps = triggers.map((trigger) => link(stage, trigger, true, triggers));
      stage.steps = [...steps, ...stage.steps];
      return steps.some((step) => step.sources.some((needed) => needed !== null));
    },
  };
}

function unlistedStage(name: string, at: SourceRange): Stage {
  return {
    at,
    name: null,
    description: "",
    label: "",
    baseName: name,
    platform: null,
    base: null,
    steps: [],
    needs: new Map(),
    isListed: false,
    isReplaced: false,
    usedArgs: new Set(),
  };
}

function openStage(
  from: From,
  index: number,
  names: ReadonlyMap<string, Stage>,
  options: PlanOptions,
): Stage {
  const { baseName, platform, usedArgs } = readFrom(from, options);
  const isReplaced = from.as !== null && options.isReplaced(from.as, platform);
  return {
    at: from.at,
    name: from.as,
    description: from.comment,
    label: from.as ?? `stage-${index}`,
    baseName,
    platform,
    base: isReplaced ? null : (names.get(baseName) ?? null),
    steps: [],
    needs: new Map(),
    isListed: true,
    isReplaced,
    usedArgs,
  };
}

function readSources(
  instruction: Extract<Instruction, { kind: "copy" | "run" }>,
  source: (name: string, at: SourceRange) => Stage,
  numbered: readonly Stage[],
  expand: (text: string) => string,
): readonly (Stage | null)[] {
  if (instruction.kind === "copy") {
    const from = expand(flagValue(instruction.flags, "from") ?? "");
    if (from === "") return NO_SOURCES;
    if (!/^[+-]?\d+$/.test(from)) return [source(from, instruction.at)];
    const stage = numbered[Number(from)];
    if (stage !== undefined) return [stage];
    throw new BuildError("STAGE_UNKNOWN", `invalid stage index ${from}`, {
      at: instruction.at,
      hint: `stages are numbered from 0; there are ${numbered.length}`,
    });
  }
  return flagValues(instruction.flags, "mount").map((mount) => {
    const from = atPlace(instruction.at, () => mountFrom(mount));
    return from === "" ? null : source(expand(from), instruction.at);
  });
}

/** The instructions of the stages a stage is built on, oldest first. */
function stepsBelow(stage: Stage): readonly (readonly Instruction[])[] {
  const chain: (readonly Instruction[])[] = [];
  for (let below = stage.base; below !== null; below = below.base) {
    chain.push(below.steps.map((step) => step.instruction));
  }
  return chain.reverse();
}

/** The stage to build: the last, or the one named. Throws TARGET_UNKNOWN. */
export function findTarget(table: StageTable, target: string | null): Stage {
  const listed = table.stages.filter((stage) => stage.isListed);
  if (target === null || target === "") return listed.at(-1) as Stage;
  const stage = table.byName(target);
  if (stage !== null) return stage;
  const names = listed.flatMap(({ name }) => (name === null ? [] : [name]));
  const near = suggest(target, names, false);
  throw new BuildError("TARGET_UNKNOWN", `target stage ${JSON.stringify(target)} could not be found`, {
    hint:
      near !== null
        ? `did you mean ${near}?`
        : names.length > 0
          ? `there are ${names.slice(0, 20).join(", ")}`
          : "no stage has a name: use FROM … AS NAME",
  });
}

/** These stages and all they need. */
export function reachableFrom(targets: readonly Stage[]): ReadonlySet<Stage> {
  const found = new Set<Stage>();
  const waiting = [...targets];
  for (let stage = waiting.pop(); stage !== undefined; stage = waiting.pop()) {
    if (found.has(stage)) continue;
    found.add(stage);
    waiting.push(...stage.needs.keys());
    if (stage.base !== null) waiting.push(stage.base);
  }
  return found;
}

/** Throws DOCKERFILE_SYNTAX when stages need each other. */
export function checkCycles(table: StageTable): void {
  const done = new Set<Stage>();
  for (const start of table.stages) {
    // A depth-first walk with its own stack: a long chain of stages must not end ours.
    const path = new Set<Stage>();
    const stack: { readonly stage: Stage; readonly rest: [Stage, SourceRange][] }[] = [];
    const enter = (stage: Stage, at: SourceRange): void => {
      if (done.has(stage)) return;
      if (path.has(stage)) {
        const name = stage.label || "stage-0"; // the label of an only stage is empty
        throw new BuildError("DOCKERFILE_SYNTAX", `circular dependency detected on stage: ${name}`, { at });
      }
      path.add(stage);
      const rest: [Stage, SourceRange][] = [...stage.needs];
      if (stage.base !== null) rest.push([stage.base, stage.at]);
      stack.push({ stage, rest });
    };
    enter(start, start.at);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.rest.pop();
      if (next !== undefined) {
        enter(...next);
      } else {
        path.delete(top.stage);
        done.add(top.stage);
        stack.pop();
      }
    }
  }
}
