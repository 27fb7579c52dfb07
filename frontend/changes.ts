// Instructions for an image without a Dockerfile: `import --change`. They are parsed and applied as in a stage.

import { BuildError } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { ContainerConfig } from "../solver/graph/request.ts";
import { openChecks } from "./checks.ts";
import { convertProperty, setWorkdir } from "./convert-property.ts";
import { finishImage } from "./image-config.ts";
import type { Instruction } from "./instruction.ts";
import { parseLoose } from "./parse.ts";
import type { PropertyState } from "./stage-state.ts";

/** As docker has it: its reference of `docker import` lists most of them, its builder (validCommitCommands) takes these. */
const ALLOWED = [
  "CMD",
  "ENTRYPOINT",
  "ENV",
  "EXPOSE",
  "HEALTHCHECK",
  "LABEL",
  "ONBUILD",
  "STOPSIGNAL",
  "USER",
  "VOLUME",
  "WORKDIR",
];

/** The config that `changes` make of none, in their order; each is one instruction, or several lines of them. Throws
 *  DOCKERFILE_SYNTAX with the change in its words. */
export function configOfChanges(changes: readonly string[], platform: Platform): ContainerConfig {
  const state: PropertyState = {
    image: { os: platform.os, architecture: platform.architecture, config: {}, history: [] },
    platform,
    env: new Map(),
    stepEnv: null,
    envPlaces: new Map(),
    user: "",
    buildArgs: new Map(),
    isWorkdirSet: false,
    isCmdSet: false,
  };
  const spent = { length: 0 };
  for (const change of changes) {
    try {
      const { escape, instructions } = parseLoose(change);
      const conversion = { words: { escape }, checks: openChecks(null), created: null, spent };
      for (const instruction of instructions) apply(conversion, state, instruction);
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      throw new BuildError(error.code, `invalid --change ${JSON.stringify(change)}: ${error.message}`, {
        hint: error.hint,
        cause: error,
      });
    }
  }
  return finishImage(state.image, platform, null).config;
}

function apply(
  conversion: Parameters<typeof convertProperty>[0],
  state: PropertyState,
  instruction: Instruction,
): void {
  const keyword = instruction.keyword.toUpperCase();
  switch (instruction.kind) {
    case "run":
    case "copy":
    case "add":
    case "arg":
    case "from":
    case "maintainer":
    case "shell":
      throw new BuildError("DOCKERFILE_SYNTAX", `${keyword} is not a valid change command`, {
        hint: `it is one of ${ALLOWED.join(", ")}`,
      });
    case "workdir":
      return setWorkdir(conversion, state, instruction);
    default:
      return convertProperty(conversion, state, instruction);
  }
}
