// Stages to vertices: each stage is converted instruction by instruction, from its base image to what a target needs.

import { BuildError, locate } from "../solver/graph/error.ts";
import { stageChecks } from "./checks.ts";
import { convertCopy } from "./convert-copy.ts";
import { convertProperty, setWorkdir } from "./convert-property.ts";
import { convertRun, workdirOf } from "./convert-run.ts";
import { readOwner } from "./copy-flags.ts";
import { addHistory } from "./image-config.ts";
import type { Instruction, Kind } from "./instruction.ts";
import type { Base } from "./sources.ts";
import {
  type Conversion,
  expandIn,
  noteOf,
  openInputs,
  type StageState,
  shownText,
  stepName,
} from "./stage-state.ts";
import { BUILDER_ARGS } from "./scans.ts";
import { resolveBases, startStage } from "./start-stage.ts";
import { reachableFrom, SCRATCH_NAME, type Stage, type StageTable, type Step } from "./stages.ts";

/** Converts what `target` needs, and `others`; the states of all these stages are in `conversion.states`. Throws BuildError. */
export async function convertStages(
  conversion: Conversion,
  table: StageTable,
  target: Stage,
  others: readonly Stage[],
): Promise<StageState> {
  const targets = [target, ...others];
  const bases = await resolveBases(conversion, table, targets);
  const reached = reachableFrom(targets);
  for (const stage of table.stages) {
    // Images and contexts are done with when they are found; only then can stages copy from them.
    const base = bases.get(stage);
    const isWhole = !stage.isListed || stage.isReplaced;
    if (isWhole && base !== undefined && reached.has(stage)) startStage(conversion, stage, base, 0);
  }
  for (const stage of table.stages) {
    if (!reached.has(stage) || conversion.states.has(stage)) continue;
    convertStage(conversion, stage, bases.get(stage) ?? null);
  }
  return conversion.states.get(target) as StageState;
}

function convertStage(conversion: Conversion, stage: Stage, base: Base | null): void {
  const hasFrom = stage.baseName !== SCRATCH_NAME && stage.base === null;
  const counted = stage.steps.filter(
    ({ instruction, isTrigger }) => isTrigger || isCounted(instruction),
  ).length;
  const state = startStage(conversion, stage, base, counted + (hasFrom ? 1 : 0));
  stageChecks(
    stage.steps.map((step) => step.instruction),
    (state.image.config.Shell ?? []).length > 0,
    conversion.checks,
  );
  for (const step of stage.steps) {
    conversion.signal.throwIfAborted();
    try {
      convertStep(conversion, state, step);
    } catch (error) {
      throw error instanceof BuildError ? locate(error, step.instruction.at, null) : error;
    }
  }
}

/** Instructions that make files are the steps of a stage. */
function isCounted({ kind }: Instruction): boolean {
  return kind === "add" || kind === "copy" || kind === "run" || kind === "workdir";
}

function convertStep(conversion: Conversion, state: StageState, step: Step): void {
  const { instruction } = step;
  switch (instruction.kind) {
    case "run":
      return convertRun(conversion, state, instruction, step);
    case "copy":
    case "add":
      return convertCopy(conversion, state, instruction, step);
    case "workdir":
      return convertWorkdir(conversion, state, instruction, step);
    case "arg":
      return convertArg(conversion, state, instruction);
    default:
      return convertProperty(conversion, state, instruction);
  }
}

/** Sets WORKDIR and makes the directory, for the user of that moment. */
function convertWorkdir(
  conversion: Conversion,
  state: StageState,
  instruction: Kind<"workdir">,
  step: Step,
): void {
  const { image, platform } = state;
  setWorkdir(conversion, state, instruction);
  const workdir = workdirOf(state);
  if (workdir !== "/") {
    const inputs = openInputs();
    const base = inputs.add(state.fs);
    const { epochSeconds } = conversion;
    const shown = shownText(conversion, state, instruction, instruction.original);
    const name = stepName(conversion, state, shown, step.isTrigger);
    state.fs = conversion.graph.add(
      {
        kind: "file",
        actions: [
          {
            kind: "mkdir",
            path: workdir,
            mode: 0o755,
            makeParents: true,
            owner: image.config.User ? readOwner(image.config.User, base) : null,
            timestampNs: epochSeconds === null ? null : BigInt(epochSeconds) * 1_000_000_000n,
            base,
            output: 0,
          },
        ],
      },
      platform,
      inputs.list,
      noteOf(name, instruction.at),
    );
  }
  addHistory(image, `WORKDIR ${workdir}`, workdir !== "/", conversion.created);
}

function convertArg(conversion: Conversion, state: StageState, instruction: Kind<"arg">): void {
  const shown: string[] = [];
  for (const arg of instruction.args) {
    const { key } = arg;
    const given = conversion.buildArgs.get(key);
    const isInherited = given === undefined && arg.value === null && conversion.globalArgs.has(key);
    let value: string | null;
    if (given !== undefined) value = given;
    else if (arg.value !== null) value = expandIn(conversion, state, instruction, arg.value);
    else value = conversion.globalArgs.get(key) ?? null;
    if (value !== null) (BUILDER_ARGS.has(key) ? state.builderArgs : state.env).set(key, value);
    if (!isInherited) {
      const { comment } = arg;
      state.outline.args.set(key, { value: value ?? "", comment, at: instruction.at, uses: new Set() });
    }
    state.outline.usedArgs.add(key);
    state.buildArgs.set(key, value);
    shown.push(value === null ? key : `${key}=${value}`);
  }
  state.stepEnv = null;
  addHistory(state.image, `ARG ${shown.join(" ")}`, false, conversion.created);
}
