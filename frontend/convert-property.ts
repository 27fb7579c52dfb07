// Instructions that only set a property of the image config, of a stage or of an image without a Dockerfile.

import { BuildError } from "../solver/graph/error.ts";
import type { Healthcheck } from "../solver/graph/request.ts";
import { exposeInvalidFormat, exposeProtoCasing, relativeWorkdir } from "./check-texts.ts";
import { shellOf } from "./convert-run.ts";
import { readHealthcheckOptions } from "./healthcheck.ts";
import { healthcheckText, plainList, quotedList } from "./history-text.ts";
import { addHistory, setImageEnv, withOwn } from "./image-config.ts";
import type { CommandLine, Instruction, Kind } from "./instruction.ts";
import { atPlace } from "./place.ts";
import { parsePorts } from "./ports.ts";
import { expandIn, expandListIn, type PropertyConversion, type PropertyState, spend } from "./stage-state.ts";
import { workdirIn } from "./start-stage.ts";
import { isSignal } from "./stop-signals.ts";
import { isWindowsAbsolute } from "./windows-paths.ts";

/** What a port counts for in `spend`: its text is short, but it is a property of the config as well. */
const PORT_LENGTH = 128;

/** Sets what the instruction says, and notes it in the history. Throws DOCKERFILE_SYNTAX, LIMIT_EXCEEDED. */
export function convertProperty(
  conversion: PropertyConversion,
  state: PropertyState,
  instruction: Exclude<Instruction, Kind<"run" | "copy" | "add" | "workdir" | "arg">>,
): void {
  const { image } = state;
  const { config } = image;
  const expand = (word: string): string => expandIn(conversion, state, instruction, word);
  const record = (text: string): void => addHistory(image, text, false, conversion.created);
  switch (instruction.kind) {
    case "env":
      return convertEnv(conversion, state, instruction);
    case "expose":
      return convertExpose(conversion, state, instruction);
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

function commandWords(state: PropertyState, command: CommandLine): readonly string[] {
  return command.form === "exec" ? command.args : [...shellOf(state), command.text];
}

/** Sets the WorkingDir of the config; making the directory is a step of its own. */
export function setWorkdir(
  conversion: PropertyConversion,
  state: PropertyState,
  instruction: Kind<"workdir">,
): void {
  const { image, platform } = state;
  const path = expandIn(conversion, state, instruction, instruction.value);
  const isAbsolute = platform.os === "windows" ? isWindowsAbsolute(path) : path.startsWith("/");
  if (!state.isWorkdirSet && !isAbsolute) {
    conversion.checks.warn("WorkdirRelativePath", relativeWorkdir(path), instruction.at);
  }
  state.isWorkdirSet = true;
  image.config.WorkingDir = atPlace(instruction.at, () =>
    workdirIn(image.config.WorkingDir ?? null, path, platform),
  );
}

function convertEnv(conversion: PropertyConversion, state: PropertyState, instruction: Kind<"env">): void {
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

function convertExpose(
  conversion: PropertyConversion,
  state: PropertyState,
  instruction: Kind<"expose">,
): void {
  const { checks } = conversion;
  const words = instruction.values.flatMap((value) => expandListIn(conversion, state, value));
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
