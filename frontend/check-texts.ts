// The message of each build check. Tools show and match these messages, so they are exactly BuildKit's.

import { suggest } from "./suggest.ts";
import { quote } from "../solver/graph/go-quote.ts";

export const stageNameCasing = (stage: string): string => `Stage name '${stage}' should be lowercase`;

export const fromAsCasing = (from: string, as: string): string =>
  `'${as}' and '${from}' keywords' casing do not match`;

export const emptyContinuation = (): string => "Empty continuation line";

export const instructionCasing = (keyword: string, majority: "lowercase" | "uppercase"): string =>
  `Command '${keyword}' should match the case of the command majority (${majority})`;

export const duplicateStageName = (stage: string): string =>
  `Duplicate stage name ${quote(stage)}, stage names should be unique`;

export const reservedStageName = (stage: string): string =>
  `Stage name should not use the same name as reserved stage ${quote(stage)}`;

export const jsonArgsRecommended = (keyword: string): string =>
  `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`;

export const deprecatedMaintainer = (): string =>
  "Maintainer instruction is deprecated in favor of using label";

/** `declared`: names of the ARGs before the first FROM. */
export function undefinedArgInFrom(name: string, declared: Iterable<string>): string {
  const near = suggest(name, declared, true);
  return `FROM argument '${name}' is not declared${near === null ? "" : ` (did you mean ${near}?)`}`;
}

/** `known`: names of the variables that are set at this place. */
export function undefinedVar(name: string, known: Iterable<string>): string {
  const near = suggest(name, known, true);
  return `Usage of undefined variable '$${name}'${near === null ? "" : ` (did you mean $${near}?)`}`;
}

export const relativeWorkdir = (workdir: string): string =>
  `Relative workdir ${quote(workdir)} can have unexpected results if the base image changes`;

export const multipleInstructions = (keyword: string): string =>
  `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`;

export const legacyKeyValue = (keyword: string): string =>
  `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`;

/** Platforms as os/architecture[/variant]. */
export const baseImagePlatform = (image: string, expected: string, actual: string): string =>
  `Base image ${image} was pulled with platform ${quote(actual)}, expected ${quote(expected)} for current build`;

/** `flag`: the value of --platform as written. */
export const redundantTargetPlatform = (flag: string): string =>
  `Setting platform to predefined ${flag} in FROM is redundant as this is the default behavior`;

export const secretInArgOrEnv = (instruction: "ARG" | "ENV", key: string): string =>
  `Do not use ARG or ENV instructions for sensitive data (${instruction} ${quote(key)})`;

/** `image`: the FROM argument as written. */
export const invalidDefaultArg = (image: string): string =>
  `Default value for ARG ${image} results in empty or invalid base image name`;

export const constantPlatform = (platform: string): string =>
  `FROM --platform flag should not use constant value ${quote(platform)}`;

export const copyIgnoredFile = (command: "Copy" | "Add", path: string): string =>
  `Attempting to ${command} file ${quote(path)} that is excluded by .dockerignore`;

export function invalidDescription(instruction: "ARG" | "FROM", names: readonly string[]): string {
  const name = names.length === 1 ? (names[0] ?? "") : "<arg_key>";
  return `Comment for ${instruction} should follow the format: \`# ${name} <description>\``;
}

/** `port`: the argument as expanded, such as 80/TCP. */
export const exposeProtoCasing = (port: string): string =>
  `Defined protocol '${port}' in EXPOSE instruction should be lowercase`;

export const exposeInvalidFormat = (port: string): string =>
  `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`;
