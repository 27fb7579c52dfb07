// Stages: which there are, what each is built on and copies from, and which of them a target needs. Only those are
// converted, and only their base images are asked for.

import { BuildError, locate, type SourceRange } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { Checks } from "./checks.ts";
import { constantPlatform, invalidDefaultArg, redundantTargetPlatform, undefinedArgInFrom } from "./check-texts.ts";
import { flagValue, flagValues } from "./flags.ts";
import { parseImageName } from "./image-name.ts";
import type { Instruction, ParsedDockerfile } from "./instruction.ts";
import { parsePlatform } from "./platform-args.ts";
import { mountFrom } from "./run-mounts.ts";
import { suggest } from "./suggest.ts";
import { expandWord, type Lookup } from "./words.ts";

/** The image that has nothing in it. */
export const SCRATCH_NAME = "scratch";
/** Stages of one file; more are refused. */
const STAGES_MAX = 10_000;

type From = Extract<Instruction, { kind: "from" }>;
type Arg = Extract<Instruction, { kind: "arg" }>;

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
  /** Global arguments that FROM used. */
  readonly usedArgs: ReadonlySet<string>;
}

/** A value given before the first FROM, for the outline. */
export interface GlobalArg {
  readonly value: string;
  readonly comment: string;
  readonly at: SourceRange;
  readonly uses: ReadonlySet<string>;
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
    else throw new BuildError("DOCKERFILE_SYNTAX", "no build stage in current context", { at: instruction.at });
  }
  if (stages.length === 0) throw new BuildError("DOCKERFILE_SYNTAX", "dockerfile contains no stages to build");
  if (stages.length > STAGES_MAX) throw new BuildError("LIMIT_EXCEEDED", `more than ${STAGES_MAX} stages`);
  return { globals, stages };
}

/** The arguments before the first FROM, with their values: build arguments win over defaults. `values` starts with the
 *  platform arguments and is added to. Throws DOCKERFILE_SYNTAX. */
export function readGlobalArgs(
  globals: readonly Arg[],
  values: Map<string, string>,
  buildArgs: ReadonlyMap<string, string>,
  escape: string,
): Map<string, GlobalArg> {
  const declared = new Map<string, GlobalArg>();
  for (const instruction of globals) {
    for (const arg of instruction.args) {
      let value = buildArgs.get(arg.key);
      let uses: readonly string[] = [];
      if (value === undefined && arg.value !== null) {
        const expanded = atPlace(instruction.at, () => expandWord(arg.value ?? "", values, { escape }));
        value = expanded.text;
        uses = expanded.matched.filter((name) => name !== arg.key);
      }
      value ??= values.get(arg.key);
      if (value !== undefined) values.set(arg.key, value);
      declared.set(arg.key, { value: value ?? "", comment: arg.comment, at: instruction.at, uses: new Set(uses) });
    }
  }
  return declared;
}

export interface PlanOptions {
  readonly globalArgs: ReadonlyMap<string, string>;
  /** Values of the same without build arguments, for the check of defaults; null: they do not expand. */
  readonly defaultArgs: ReadonlyMap<string, string> | null;
  readonly declared: ReadonlyMap<string, GlobalArg>;
  readonly buildPlatform: Platform;
  readonly escape: string;
  readonly checks: Checks;
}

/** Reads all FROM lines and what copies from where. Throws for names that cannot be. */
export function planStages(
  written: ReturnType<typeof splitStages>["stages"],
  options: PlanOptions,
): StageTable {
  const stages: Stage[] = [];
  const names = new Map<string, Stage>();
  if (options.defaultArgs !== null) checkDefaults(written, options.defaultArgs, options);
  written.forEach(({ from }, index) => {
    const stage = readFrom(from, index, names, options);
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
  const link = (stage: Stage, instruction: Instruction, isTrigger: boolean): Step => {
    const sources = readSources(instruction, source, numbered, options);
    for (const needed of sources) if (needed !== null) stage.needs.set(needed, instruction.at);
    return { instruction, sources, isTrigger };
  };
  written.forEach(({ instructions }, index) => {
    const stage = numbered[index] as Stage;
    stage.steps = instructions.map((instruction) => link(stage, instruction, false));
  });
  if (stages.length === 1 && stages[0] !== undefined) stages[0].label = "";
  return {
    stages,
    byName,
    addTriggers: (stage, triggers) => {
      const steps = triggers.map((trigger) => link(stage, trigger, true));
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
    usedArgs: new Set(),
  };
}

function readFrom(from: From, index: number, names: ReadonlyMap<string, Stage>, options: PlanOptions): Stage {
  const { globalArgs, escape } = options;
  const image = atPlace(from.at, () => expandWord(from.image, globalArgs, { escape }));
  reportUndeclared(image.unmatched, from, options);
  if (image.text === "") {
    throw new BuildError("DOCKERFILE_SYNTAX", `base name (${from.image}) should not be blank`, {
      at: from.at,
      hint: nearest(image.unmatched, globalArgs.keys()),
    });
  }
  const used = new Set(image.matched);
  return {
    at: from.at,
    name: from.as,
    description: from.comment,
    label: from.as ?? `stage-${index}`,
    baseName: image.text,
    platform: from.platform === null ? null : readPlatform(from, from.platform, used, options),
    base: names.get(image.text) ?? null,
    steps: [],
    needs: new Map(),
    isListed: true,
    usedArgs: used,
  };
}

function readPlatform(from: From, flag: string, used: Set<string>, options: PlanOptions): Platform {
  const { globalArgs, escape, checks } = options;
  const expanded = atPlace(from.at, () => expandWord(flag, globalArgs, { escape }));
  reportUndeclared(expanded.unmatched, from, options);
  for (const name of expanded.matched) used.add(name);
  const hint = nearest(expanded.unmatched, globalArgs.keys());
  if (expanded.text === "") {
    throw new BuildError("PLATFORM_UNSUPPORTED", `empty platform value from expression ${flag}`, { at: from.at, hint });
  }
  let platform: Platform;
  try {
    platform = parsePlatform(expanded.text, options.buildPlatform);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new BuildError("PLATFORM_UNSUPPORTED", `failed to parse platform ${flag}: ${reason}`, {
      at: from.at,
      hint,
      cause,
    });
  }
  if (/^\$(?:TARGETPLATFORM|\{TARGETPLATFORM\})$/.test(flag)) {
    checks.warn("RedundantTargetPlatform", redundantTargetPlatform(flag), from.at);
  }
  if (expanded.matched.length === 0 && expanded.unmatched.length === 0) {
    // A stage that is named after its platform is meant to have just that.
    const name = from.as ?? "";
    if (!name.includes(platform.os) && !name.includes(platform.architecture)) {
      checks.warn("FromPlatformFlagConstDisallowed", constantPlatform(expanded.text), from.at);
    }
  }
  return platform;
}

function reportUndeclared(names: readonly string[], from: From, { declared, globalArgs, checks }: PlanOptions): void {
  const known = [...new Set([...declared.keys(), ...globalArgs.keys()])];
  for (const name of names) {
    if (!declared.has(name)) checks.warn("UndefinedArgInFrom", undefinedArgInFrom(name, known), from.at);
  }
}

/** FROM should name an image also when nobody gives a build argument. */
function checkDefaults(
  written: ReturnType<typeof splitStages>["stages"],
  defaults: Lookup,
  { escape, checks }: PlanOptions,
): void {
  for (const { from } of written) {
    try {
      parseImageName(expandWord(from.image, defaults, { escape }).text);
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      if (error.code !== "REFERENCE_INVALID") return; // does not expand: an error of its own
      checks.warn("InvalidDefaultArgInFrom", invalidDefaultArg(from.image), from.at);
    }
  }
}

function readSources(
  instruction: Instruction,
  source: (name: string, at: SourceRange) => Stage,
  numbered: readonly Stage[],
  options: PlanOptions,
): readonly (Stage | null)[] {
  if (instruction.kind === "copy") {
    const flag = flagValue(instruction.flags, "from") ?? "";
    // Beyond BuildKit: global arguments may name the source.
    const from = flag.includes("$")
      ? atPlace(instruction.at, () => expandWord(flag, options.globalArgs, { escape: options.escape })).text
      : flag;
    if (from === "") return [];
    if (!/^[+-]?\d+$/.test(from)) return [source(from, instruction.at)];
    const stage = numbered[Number(from)];
    if (stage !== undefined) return [stage];
    throw new BuildError("STAGE_UNKNOWN", `invalid stage index ${from}`, {
      at: instruction.at,
      hint: `stages count from 0; there are ${numbered.length}`,
    });
  }
  if (instruction.kind !== "run") return [];
  return flagValues(instruction.flags, "mount").map((mount) => {
    const from = atPlace(instruction.at, () => mountFrom(mount));
    return from === "" ? null : source(from, instruction.at);
  });
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
          : "no stage has a name: write FROM … AS NAME",
  });
}

/** The stage and all it needs. */
export function reachableFrom(target: Stage): ReadonlySet<Stage> {
  const found = new Set<Stage>();
  const waiting = [target];
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
        throw new BuildError("DOCKERFILE_SYNTAX", `circular dependency detected on stage: ${stage.label}`, { at });
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

function nearest(names: readonly string[], known: Iterable<string>): string | null {
  const options = [...known];
  for (const name of names) {
    const near = suggest(name, options, true);
    if (near !== null) return `did you mean $${near}?`;
  }
  return null;
}

/** Runs `work`; an error of the user's without a place gets this one. */
export function atPlace<T>(at: SourceRange, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof BuildError ? locate(error, at, null) : error;
  }
}
