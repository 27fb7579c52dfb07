// FROM lines and the ARGs before them: the values that determine stages and images. Dockerfile reference,
// "FROM", "Understand how ARG and FROM interact".

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import type { Platform } from "../solver/graph/op.ts";
import { parsePlatform } from "../solver/graph/platform.ts";
import {
  constantPlatform,
  invalidDefaultArg,
  redundantTargetPlatform,
  undefinedArgInFrom,
} from "./check-texts.ts";
import type { Checks } from "./checks.ts";
import { parseImageName } from "./image-name.ts";
import type { Instruction } from "./instruction.ts";
import { atPlace } from "./place.ts";
import { suggest } from "./suggest.ts";
import { expandWord } from "./words.ts";

export type From = Extract<Instruction, { kind: "from" }>;
export type Arg = Extract<Instruction, { kind: "arg" }>;

/** A value given before the first FROM, for the outline. */
export interface GlobalArg {
  readonly value: string;
  readonly comment: string;
  readonly at: SourceRange;
  readonly uses: ReadonlySet<string>;
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
        // All it is made of: a name may be declared again, from what it was before.
        uses = expanded.matched.flatMap((name) => [name, ...(declared.get(name)?.uses ?? [])]);
      }
      value ??= values.get(arg.key);
      if (value !== undefined) values.set(arg.key, value);
      declared.set(arg.key, {
        value: value ?? "",
        comment: arg.comment,
        at: instruction.at,
        uses: new Set(uses.filter((name) => name !== arg.key)),
      });
    }
  }
  return declared;
}

export interface FromOptions {
  readonly globalArgs: ReadonlyMap<string, string>;
  /** Values of the same without build arguments, for the check of defaults; null: they do not expand. */
  readonly defaultArgs: ReadonlyMap<string, string> | null;
  readonly declared: ReadonlyMap<string, GlobalArg>;
  readonly buildPlatform: Platform;
  readonly escape: string;
  readonly checks: Checks;
}

/** Reads a FROM line: variables filled in, the platform read. Reports what the checks say of it. Throws
 *  DOCKERFILE_SYNTAX, PLATFORM_UNSUPPORTED. */
export function readFrom(
  from: From,
  options: FromOptions,
): { readonly baseName: string; readonly platform: Platform | null; readonly usedArgs: ReadonlySet<string> } {
  const { globalArgs, escape } = options;
  const image = atPlace(from.at, () => expandWord(from.image, globalArgs, { escape }));
  reportUndeclared(image.unmatched, from, options);
  if (image.text === "") {
    throw new BuildError("DOCKERFILE_SYNTAX", `base name (${from.image}) should not be blank`, {
      at: from.at,
      hint: argumentHint(image.unmatched, globalArgs.keys()),
    });
  }
  const usedArgs = new Set(image.matched);
  const platform = from.platform === null ? null : readPlatform(from, from.platform, usedArgs, options);
  return { baseName: image.text, platform, usedArgs };
}

function readPlatform(from: From, flag: string, used: Set<string>, options: FromOptions): Platform {
  const { globalArgs, escape, checks } = options;
  const expanded = atPlace(from.at, () => expandWord(flag, globalArgs, { escape }));
  reportUndeclared(expanded.unmatched, from, options);
  for (const name of expanded.matched) used.add(name);
  const hint = argumentHint(expanded.unmatched, globalArgs.keys());
  if (expanded.text === "") {
    throw new BuildError("PLATFORM_UNSUPPORTED", `empty platform value from expression ${flag}`, {
      at: from.at,
      hint,
    });
  }
  let platform: Platform;
  try {
    platform = parsePlatform(expanded.text, options.buildPlatform);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "";
    throw new BuildError("PLATFORM_UNSUPPORTED", `failed to parse platform ${flag}: ${reason}`, {
      at: from.at,
      hint: hint ?? (cause instanceof BuildError ? cause.hint : null),
      cause,
    });
  }
  const isTarget = expanded.matched.join() === "TARGETPLATFORM" && expanded.unmatched.length === 0;
  if (isTarget && expanded.text === globalArgs.get("TARGETPLATFORM")) {
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

function reportUndeclared(
  names: readonly string[],
  from: From,
  { declared, globalArgs, checks }: FromOptions,
): void {
  const known = [...new Set([...declared.keys(), ...globalArgs.keys()])];
  for (const name of names) {
    if (!declared.has(name)) checks.warn("UndefinedArgInFrom", undefinedArgInFrom(name, known), from.at);
  }
}

/** FROM should name an image also when nobody gives a build argument. */
export function checkDefaults(froms: readonly From[], { defaultArgs, escape, checks }: FromOptions): void {
  if (defaultArgs === null) return;
  for (const from of froms) {
    try {
      parseImageName(expandWord(from.image, defaultArgs, { escape }).text);
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      if (error.code !== "REFERENCE_INVALID") return; // does not expand: an error of its own
      checks.warn("InvalidDefaultArgInFrom", invalidDefaultArg(from.image), from.at);
    }
  }
}

function argumentHint(names: readonly string[], known: Iterable<string>): string | null {
  const options = [...known];
  for (const name of names) {
    const near = suggest(name, options, true);
    if (near !== null) return `did you mean ${near}?`;
  }
  return null;
}
