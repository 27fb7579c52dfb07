// The door of the frontend: Dockerfile in, definitions and image configs out. No side effects except through functions passed in.

import { BuildError } from "../solver/graph/error.ts";
import { type Checks, checkDirective, openChecks, staticChecks } from "./checks.ts";
import { convertFor, isMultiPlatform, targetPlatforms } from "./conversion.ts";
import { declaredArgs } from "./declared.ts";
import { settleAll } from "./start-stage.ts";
import type { ParsedDockerfile } from "./instruction.ts";
import { outlineOf, targetsOf } from "./outline.ts";
import { parseDockerfile, readDockerfile } from "./parse.ts";
import { checkSyntax, findSyntax } from "./syntax.ts";
export { emptyImage, ensurePath, readResultConfig } from "./image-config.ts";
export { ConvertedImage } from "./sources.ts";
export { ForeignFrontend, type SyntaxWish } from "./syntax.ts";
import type {
  CallOptions,
  CheckResult,
  Converted,
  FrontendHost,
  FrontendOptions,
  Outline,
  Target,
} from "./contract.ts";

/** Converts a Dockerfile to definitions and image configs, one per platform. Throws BuildError with the position in the file. */
export async function convert(
  options: FrontendOptions,
  host: FrontendHost,
  call: CallOptions,
): Promise<Converted> {
  const { name, data } = options.dockerfile;
  checkSyntax(findSyntax(name, data, options.buildArgs), call.note ?? silent);
  const { parsed, error } = await readDockerfile(name, data);
  const checks = checksOf(parsed, options, error === null);
  try {
    if (error !== null) throw error;
    const request = { options, host, call, parsed, checks };
    const conversions = await settleAll(
      // Findings are the same for all platforms, or cannot be fixed for one platform: once is enough.
      targetPlatforms(options).map((platform, index) =>
        convertFor(index === 0 ? request : { ...request, checks: openChecks(null) }, platform),
      ),
    );
    const failure = checks.failure();
    if (failure !== null) throw failure;
    return {
      images: conversions.map(({ image }) => image),
      multiPlatform: isMultiPlatform(options),
      warnings: checks.list(),
      sourceDateEpoch: conversions[0]?.conversion.epochSeconds ?? null,
      declared: declaredArgs(parsed.instructions),
    };
  } finally {
    call.onWarnings?.(checks.list());
  }
}

/** --call=check: the findings of the build checks, and the error that would end a build before its first step. */
export async function check(
  options: FrontendOptions,
  host: FrontendHost,
  call: CallOptions,
): Promise<CheckResult> {
  const { name, data } = options.dockerfile;
  checkSyntax(findSyntax(name, data, options.buildArgs), call.note ?? silent);
  const { parsed, error } = await readDockerfile(name, data);
  const source = { file: name, text: parsed.source };
  isMultiPlatform(options); // throws: what the command line says wrongly is no answer about the Dockerfile
  let checks: Checks;
  try {
    checks = checksOf(parsed, options, error === null);
  } catch (cause) {
    if (!(cause instanceof BuildError) || cause.code === "USAGE") throw cause;
    return { warnings: [], error: cause, source };
  }
  if (error !== null) return { warnings: checks.list(), error, source };
  try {
    const [platform = options.buildPlatform] = targetPlatforms(options);
    // Without a target, all stages are checked.
    const allStages = options.target === null || options.target === "";
    await convertFor({ options, host, call, parsed, checks, allStages }, platform);
    return { warnings: checks.list(), error: checks.failure(), source };
  } catch (cause) {
    if (call.signal.aborted || !(cause instanceof BuildError)) throw cause;
    return { warnings: checks.list(), error: cause, source };
  }
}

/** --call=outline: arguments, secrets and agents of the target. Throws BuildError. */
export async function outline(
  options: FrontendOptions,
  host: FrontendHost,
  call: CallOptions,
): Promise<Outline> {
  const parsed = await parse(options, call);
  const [platform = options.buildPlatform] = targetPlatforms(options);
  const checks = checksOf(parsed, options);
  const converted = await convertFor({ options, host, call, parsed, checks }, platform);
  const failure = checks.failure();
  if (failure !== null) throw failure;
  return outlineOf(converted);
}

/** --call=targets: the stages. Throws BuildError if it is not a Dockerfile. */
export async function targets(
  options: FrontendOptions,
  _host: FrontendHost,
  call: CallOptions,
): Promise<readonly Target[]> {
  call.signal.throwIfAborted();
  return targetsOf(await parse(options, call));
}

function parse({ dockerfile, buildArgs }: FrontendOptions, call: CallOptions): Promise<ParsedDockerfile> {
  const { name, data } = dockerfile;
  checkSyntax(findSyntax(name, data, buildArgs), call.note ?? silent);
  return parseDockerfile(name, data);
}

const silent = (): void => {};

function checksOf(parsed: ParsedDockerfile, options: FrontendOptions, isWhole = true): Checks {
  const checks = openChecks(
    checkDirective(parsed),
    options.buildArgs.get("BUILDKIT_DOCKERFILE_CHECK") ?? null,
    parsed.instructions,
  );
  staticChecks(parsed, checks, isWhole);
  return checks;
}
