// Variables in COPY --from and RUN --mount=from, which name the stage, image or context to read files from. They determine
// the stages, so they are expanded before any stage is converted: from earlier ARG and ENV in the stage and the
// stages it is based on, then from the arguments before the first FROM. Beyond BuildKit (docs/differences.md).

import { BuildError } from "../solver/graph/error.ts";
import type { Instruction } from "./instruction.ts";
import { atPlace } from "./place.ts";
import { suggest } from "./suggest.ts";
import { expandWord } from "./words.ts";

export interface FromValueOptions {
  readonly globalArgs: ReadonlyMap<string, string>;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly escape: string;
}

/** Fills in --from values of one file. */
export interface FromValues {
  /** `siblings` are the instructions run in one go with this one, `below` lists of those before, oldest first. Throws
   *  DOCKERFILE_SYNTAX when nothing is left of the value. */
  expand(
    text: string,
    instruction: Instruction,
    siblings: readonly Instruction[],
    below: () => readonly (readonly Instruction[])[],
  ): string;
}

interface Scope {
  readonly values: Map<string, string>;
  done: number; // instructions read so far
}

/** Opens the values of one file. Each instruction is read once for all that follow it in its list. */
export function openFromValues(options: FromValueOptions): FromValues {
  const scopes = new Map<readonly Instruction[], Scope>();
  const advance = (scope: Scope, list: readonly Instruction[], end: number): Scope => {
    for (; scope.done < end; scope.done++) {
      const instruction = list[scope.done];
      if (instruction !== undefined) read(instruction, scope.values, options);
    }
    return scope;
  };
  return {
    expand(text, instruction, siblings, below) {
      let scope = scopes.get(siblings);
      if (scope === undefined) {
        // What is declared in a stage hides the arguments of the file.
        const values = new Map(options.globalArgs);
        for (const list of below()) advance({ values, done: 0 }, list, list.length);
        scope = { values, done: 0 };
        scopes.set(siblings, scope);
      }
      const { values } = advance(scope, siblings, siblings.indexOf(instruction, scope.done));
      const { text: value, unmatched } = atPlace(instruction.at, () =>
        expandWord(text, values, { escape: options.escape }),
      );
      if (value === "") throw empty(text, instruction, unmatched[0], [...values.keys()]);
      return value;
    },
  };
}

function empty(
  text: string,
  { at }: Instruction,
  missing: string | undefined,
  known: readonly string[],
): BuildError {
  if (missing === undefined) return new BuildError("DOCKERFILE_SYNTAX", `from=${text} is empty`, { at });
  const near = suggest(missing, known, true);
  return new BuildError("DOCKERFILE_SYNTAX", `from=${text} is empty: ${missing} is not set here`, {
    at,
    hint:
      near === null
        ? "only ARG and ENV of this Dockerfile are used, not those of base images"
        : `did you mean $${near}?`,
  });
}

/** What an ARG or ENV sets, with the values a step would see. */
function read(
  instruction: Instruction,
  values: Map<string, string>,
  { buildArgs, escape }: FromValueOptions,
): void {
  const expand = (word: string): string =>
    atPlace(instruction.at, () => expandWord(word, values, { escape })).text;
  if (instruction.kind === "arg") {
    for (const { key, value } of instruction.args) {
      const given = buildArgs.get(key);
      if (given !== undefined) values.set(key, given);
      else if (value !== null) values.set(key, expand(value));
    }
  } else if (instruction.kind === "env") {
    // Values are those of before the instruction, also within it.
    const pairs = instruction.pairs.map(({ key, value }) => [expand(key), expand(value ?? "")] as const);
    for (const [key, value] of pairs) values.set(key, value);
  }
}
