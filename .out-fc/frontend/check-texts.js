// What each build check says. Tools show and match these sentences, so they are BuildKit's to the letter.
import { quote } from "./go-strings.js";
import { suggest } from "./suggest.js";
export const stageNameCasing = (stage) => `Stage name '${stage}' should be lowercase`;
export const fromAsCasing = (from, as) => `'${as}' and '${from}' keywords' casing do not match`;
export const emptyContinuation = () => "Empty continuation line";
export const instructionCasing = (keyword, majority) => `Command '${keyword}' should match the case of the command majority (${majority})`;
export const duplicateStageName = (stage) => `Duplicate stage name ${quote(stage)}, stage names should be unique`;
export const reservedStageName = (stage) => `Stage name should not use the same name as reserved stage ${quote(stage)}`;
export const jsonArgsRecommended = (keyword) => `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`;
export const deprecatedMaintainer = () => "Maintainer instruction is deprecated in favor of using label";
/** `declared`: names of the ARGs before the first FROM. */
export function undefinedArgInFrom(name, declared) {
    const near = suggest(name, declared, true);
    return `FROM argument '${name}' is not declared${near === null ? "" : ` (did you mean ${near}?)`}`;
}
/** `known`: names of the variables that are set at this place. */
export function undefinedVar(name, known) {
    const near = suggest(name, known, true);
    return `Usage of undefined variable '$${name}'${near === null ? "" : ` (did you mean $${near}?)`}`;
}
export const relativeWorkdir = (workdir) => `Relative workdir ${quote(workdir)} can have unexpected results if the base image changes`;
export const multipleInstructions = (keyword) => `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`;
export const legacyKeyValue = (keyword) => `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`;
/** Platforms as os/architecture[/variant]. */
export const baseImagePlatform = (image, expected, actual) => `Base image ${image} was pulled with platform ${quote(actual)}, expected ${quote(expected)} for current build`;
/** `flag`: the value of --platform as written. */
export const redundantTargetPlatform = (flag) => `Setting platform to predefined ${flag} in FROM is redundant as this is the default behavior`;
export const secretInArgOrEnv = (instruction, key) => `Do not use ARG or ENV instructions for sensitive data (${instruction} ${quote(key)})`;
/** `image`: the FROM argument as written. */
export const invalidDefaultArg = (image) => `Default value for ARG ${image} results in empty or invalid base image name`;
export const constantPlatform = (platform) => `FROM --platform flag should not use constant value ${quote(platform)}`;
export const copyIgnoredFile = (command, path) => `Attempting to ${command} file ${quote(path)} that is excluded by .dockerignore`;
export function invalidDescription(instruction, names) {
    const name = names.length === 1 ? (names[0] ?? "") : "<arg_key>";
    return `Comment for ${instruction} should follow the format: \`# ${name} <description>\``;
}
/** `port`: the argument as expanded, such as 80/TCP. */
export const exposeProtoCasing = (port) => `Defined protocol '${port}' in EXPOSE instruction should be lowercase`;
export const exposeInvalidFormat = (port) => `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`;
//# sourceMappingURL=check-texts.js.map