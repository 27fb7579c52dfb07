// Stages to vertices: each stage is folded over its instructions, from its base image to what a target needs.

import { BuildError, locate } from "../solver/graph/error.ts";
import type { Healthcheck } from "../solver/graph/request.ts";
import { exposeInvalidFormat, exposeProtoCasing, relativeWorkdir } from "./check-texts.ts";
import { stageChecks } from "./checks.ts";
import { convertCopy } from "./convert-copy.ts";
import { convertRun, shellOf } from "./convert-run.ts";
import { readOwner } from "./copy-flags.ts";
import { readHealthcheckOptions } from "./healthcheck.ts";
import { healthcheckText, plainList, quotedList } from "./history-text.ts";
import { addHistory, setImageEnv, withOwn } from "./image-config.ts";
import type { CommandLine, Instruction } from "./instruction.ts";
import { parsePorts } from "./ports.ts";
import type { Base } from "./sources.ts";
import {
  type Conversion,
  expandIn,
  expandListIn,
  noteOf,
  openInputs,
  type StageState,
  spend,
  shownText,
  stepName,
} from "./stage-state.ts";
import { resolveBases, startStage, workdirIn } from "./start-stage.ts";
import { isSignal } from "./stop-signals.ts";
import { reachableFrom, SCRATCH_NAME, type Stage, type StageTable, type Step } from "./stages.ts";

/** Instructions of a kind. */
type Kind<K extends Instruction["kind"]> = Extract<Instruction, { kind: K }>;

/** What a port counts for in `spend`: its text is short, but it is a property of the config as well. */
const PORT_LENGTH = 128;
/** Arguments that are for the builder: not in the environment of RUN. */
const BUILDER_ARGS: ReadonlySet<string> = new Set(["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"]);

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
    case "env":
      return convertEnv(conversion, state, instruction);
    case "expose":
      return convertExpose(conversion, state, instruction);
    default:
      return convertProperty(conversion, state, instruction);
  }
}

/** Instructions that only set a property of the image config. */
function convertProperty(
  conversion: Conversion,
  state: StageState,
  instruction: Exclude<Instruction, Kind<"run" | "copy" | "add" | "workdir" | "arg" | "env" | "expose">>,
): void {
  const { image } = state;
  const { config } = image;
  const expand = (word: string): string => expandIn(conversion, state, instruction, word);
  const record = (text: string): void => addHistory(image, text, false, conversion.created);
  switch (instruction.kind) {
    case "label": {
      const labels = instruction.pairs.map(({ key, value }) => [expand(key), expand(value ?? "")] as const);
      config.Labels = withOwn(config.Labels, labels);
      return record(`LABEL ${labels.map(([key, value]) => `${key}=${value}`).join(" ")}`);
    }
    case "user":
      config.User = expand(instruction.value);
      state.user = config.User;
      return record(`USER ${config.User}`);
    case "volume": {
      const volumes = instruction.values.map(expand);
      if (volumes.includes("")) throw syntax("VOLUME specified can not be an empty string");
      config.Volumes = withOwn(
        config.Volumes,
        volumes.map((volume) => [volume, {}]),
      );
      return record(`VOLUME ${plainList(volumes)}`);
    }
    case "cmd": {
      const words = commandWords(state, instruction.command);
      config.Cmd = [...words];
      config.ArgsEscaped = true;
      state.isCmdSet = true;
      return record(`CMD ${quotedList(words)}`);
    }
    case "entrypoint": {
      const words = commandWords(state, instruction.command);
      config.Entrypoint = [...words];
      // The CMD of the base image was for the entrypoint of the base image.
      if (!state.isCmdSet) delete config.Cmd;
      return record(`ENTRYPOINT ${quotedList(words)}`);
    }
    case "shell":
      config.Shell = [...instruction.args];
      return record(`SHELL ${plainList(instruction.args)}`);
    case "healthcheck":
      config.Healthcheck = readHealthcheck(instruction);
      return record(`HEALTHCHECK ${healthcheckText(config.Healthcheck)}`);
    case "stopsignal": {
      const signal = expand(instruction.value);
      if (!isSignal(signal)) throw syntax(`invalid signal: ${signal}`);
      config.StopSignal = signal;
      return record(`STOPSIGNAL ${signal}`);
    }
    case "maintainer":
      image.author = instruction.value;
      return record(`MAINTAINER ${instruction.value}`);
    case "onbuild":
      config.OnBuild = [...(config.OnBuild ?? []), instruction.expression];
      return;
    case "from":
      throw syntax("FROM isn't allowed here");
  }
}

function commandWords(state: StageState, command: CommandLine): readonly string[] {
  return command.form === "exec" ? command.args : [...shellOf(state), command.text];
}

/** Sets WORKDIR and makes the directory, for the user of that moment. */
function convertWorkdir(
  conversion: Conversion,
  state: StageState,
  instruction: Kind<"workdir">,
  step: Step,
): void {
  const { image, platform } = state;
  const path = expandIn(conversion, state, instruction, instruction.value);
  if (!state.isWorkdirSet && !path.startsWith("/")) {
    conversion.checks.warn("WorkdirRelativePath", relativeWorkdir(path), instruction.at);
  }
  state.isWorkdirSet = true;
  const workdir = workdirIn(image.config.WorkingDir ?? null, path);
  image.config.WorkingDir = workdir;
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

function convertEnv(conversion: Conversion, state: StageState, instruction: Kind<"env">): void {
  // Values are those of before the instruction, also within it.
  const pairs = instruction.pairs.map(
    ({ key, value }) =>
      [
        expandIn(conversion, state, instruction, key),
        expandIn(conversion, state, instruction, value ?? ""),
      ] as const,
  );
  for (const [key, value] of pairs) {
    state.env.set(key, value);
    setImageEnv(state.image.config, state.envPlaces, key, value);
  }
  state.stepEnv = null;
  const text = pairs.map(([key, value]) => `${key}=${value}`).join(" ");
  addHistory(state.image, `ENV ${text}`, false, conversion.created);
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
    if (value !== null && !BUILDER_ARGS.has(key)) state.env.set(key, value);
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

function convertExpose(conversion: Conversion, state: StageState, instruction: Kind<"expose">): void {
  const { checks } = conversion;
  const words = instruction.values.flatMap((value) => expandListIn(conversion, state, instruction, value));
  const ports: string[] = [];
  for (const word of words) {
    const parsed = parsePorts(word);
    if (parsed.hasCapitals) checks.warn("ExposeProtoCasing", exposeProtoCasing(word), instruction.at);
    if (parsed.isMapping) checks.warn("ExposeInvalidFormat", exposeInvalidFormat(word), instruction.at);
    ports.push(...parsed.ports);
  }
  const { config } = state.image;
  spend(conversion, ports.length * PORT_LENGTH);
  config.ExposedPorts = withOwn(
    config.ExposedPorts,
    ports.map((port) => [port, {}]),
  );
  addHistory(state.image, `EXPOSE ${plainList(ports)}`, false, conversion.created);
}

function readHealthcheck(instruction: Kind<"healthcheck">): Healthcheck {
  const { test } = instruction;
  if (test === "NONE") return { Test: ["NONE"] };
  const { interval, timeout, startPeriod, startInterval, retries } = readHealthcheckOptions(
    instruction.flags,
  );
  return {
    Test: test.form === "exec" ? ["CMD", ...test.args] : ["CMD-SHELL", test.text],
    ...(interval === 0 ? {} : { Interval: interval }),
    ...(timeout === 0 ? {} : { Timeout: timeout }),
    ...(startPeriod === 0 ? {} : { StartPeriod: startPeriod }),
    ...(startInterval === 0 ? {} : { StartInterval: startInterval }),
    ...(retries === 0 ? {} : { Retries: retries }),
  };
}

function syntax(message: string): BuildError {
  return new BuildError("DOCKERFILE_SYNTAX", message);
}
