// Which step made a layer: its history entry, and the Dockerfile's line where the Dockerfile is known.

import { parseDockerfile } from "../../../frontend/parse.ts";
import type { Instruction } from "../../../frontend/instruction.ts";
import { printable } from "../../../solver/graph/error.ts";
import type { History, SourceFile, Step, StepPlace } from "./contract.ts";

const COMMAND_MAX_CHARS = 2_000;
const EXCERPT_MAX_CHARS = 2_000;

/** The step of each layer, oldest first; null: the history does not say. Entries of the base image have no place. */
export async function stepsOf(
  history: History,
  layerCount: number,
  source: SourceFile | null,
): Promise<readonly (Step | null)[]> {
  const places = source === null ? [] : await placesOf(history, source);
  const steps: (Step | null)[] = history.flatMap((entry, at) => {
    if (entry.empty_layer === true) return [];
    return [{ command: commandOf(entry.created_by), place: places[at] ?? null, stage: null }];
  });
  // A history that says too much or too little counts from the end.
  while (steps.length < layerCount) steps.unshift(null);
  return steps.slice(steps.length - layerCount);
}

/** What a builder was told, without the words that builders add: "RUN make" for "RUN /bin/sh -c make # buildkit". */
export function commandOf(createdBy: unknown): string {
  const text = typeof createdBy === "string" ? createdBy : "";
  return printable(
    text
      .slice(0, COMMAND_MAX_CHARS)
      .replace(/ # buildkit$/, "")
      .replace(/^(?:\/bin\/sh -c )?#\(nop\) +/, "")
      .replace(/^\/bin\/sh -c /, "RUN ")
      .replace(/^RUN (?:\|\d+ (?:[A-Za-z_]\w*=\S* )*)?\/bin\/sh -c /, "RUN "),
    COMMAND_MAX_CHARS,
  );
}

/** Instructions of the built stage and those below it, in the order of the history. */
async function placesOf(
  history: History,
  { name, text, target }: SourceFile,
): Promise<readonly (StepPlace | null)[]> {
  let instructions: readonly Instruction[];
  try {
    ({ instructions } = await parseDockerfile(name, Buffer.from(text)));
  } catch {
    return []; // of another frontend
  }
  const lines = text.split("\n");
  const made = chainOf(stagesIn(instructions), target).filter(({ kind }) => kind !== "from");
  const places: (StepPlace | null)[] = history.map(() => null);
  // From the end: what comes before is of the base image.
  let at = history.length - 1;
  for (let index = made.length - 1; index >= 0 && at >= 0; index--) {
    const instruction = made[index] as Instruction;
    const keyword = instruction.kind.toUpperCase();
    // An instruction may have several entries (several variables), or none in images of other builders.
    const isOf = (entry: History[number] | undefined): boolean =>
      entry !== undefined && commandOf(entry.created_by).toUpperCase().startsWith(`${keyword} `);
    if (!isOf(history[at])) continue;
    const { start, end } = instruction.at;
    places[at] = {
      file: name,
      line: start.line,
      endLine: end.line,
      text: lines
        .slice(start.line - 1, end.line)
        .join("\n")
        .slice(0, EXCERPT_MAX_CHARS),
    };
    at--;
  }
  return places;
}

interface StageText {
  readonly name: string | null;
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

/** Stages of a Dockerfile. */
export function stagesIn(instructions: readonly Instruction[]): readonly StageText[] {
  const stages: { name: string | null; base: string; instructions: Instruction[] }[] = [];
  for (const instruction of instructions) {
    if (instruction.kind === "from")
      stages.push({
        name: instruction.as,
        base: instruction.image.toLowerCase(),
        instructions: [instruction],
      });
    else stages.at(-1)?.instructions.push(instruction);
  }
  return stages;
}

/** Place of a stage by name or number; -1: there is none. `before`: among those before it. */
export function stageIndex(
  stages: readonly StageText[],
  wanted: string,
  before: number = stages.length,
): number {
  const name = wanted.toLowerCase();
  const byName = stages.slice(0, before).findLastIndex((stage) => stage.name === name);
  return byName >= 0 ? byName : /^\d+$/.test(name) && Number(name) < before ? Number(name) : -1;
}

/** Instructions of a stage, after those of the stages it is built on. */
function chainOf(stages: readonly StageText[], target: string | null): readonly Instruction[] {
  const found: Instruction[][] = [];
  let at = target === null ? stages.length - 1 : stageIndex(stages, target);
  for (let stage = stages[at]; stage !== undefined; stage = stages[at]) {
    found.unshift([...stage.instructions]);
    at = stages.slice(0, at).findLastIndex(({ name }) => name === (stage as StageText).base);
  }
  return found.flat();
}

/** Stages that a step copies from, by the words of its line: "COPY --from=build", "--mount=from=build". */
export async function copiedStages({ place }: Step, { name, text }: SourceFile): Promise<readonly string[]> {
  if (place === null) return [];
  const { instructions } = await parseDockerfile(name, Buffer.from(text));
  const stages = stagesIn(instructions);
  const within = stages.findLastIndex(
    ({ instructions: all }) => (all[0]?.at.start.line ?? Infinity) <= place.line,
  );
  const instruction = instructions.find(({ at }) => at.start.line === place.line);
  const names = instruction?.flags.flatMap(({ name: flag, value }) => {
    if (flag === "from" && value !== null) return [value];
    const from = flag === "mount" && value !== null ? /(?:^|,)from=([^,]+)/.exec(value)?.[1] : undefined;
    return from === undefined ? [] : [from];
  });
  return (names ?? []).flatMap((wanted) => {
    const at = stageIndex(stages, wanted, within);
    return at < 0 ? [] : [stages[at]?.name ?? String(at)];
  });
}
