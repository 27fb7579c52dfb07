// Columns for a syntax error: finds the wrong word in the lines of an instruction. dockerfile-ast knows the position of
// every word of an instruction, even across continuations; it is loaded only after an error.

import { BuildError, type SourceRange } from "../solver/graph/error.ts";

/** As the cause of a BuildError: the word of the instruction that was not understood. */
export class WordError extends Error {
  override readonly name = "WordError";
  readonly word: string;
  constructor(word: string) {
    super(`not understood: ${word}`);
    this.word = word;
  }
}

/** Longer instructions keep their whole lines: the lexer's time grows faster than their length. */
const INSTRUCTION_MAX_LENGTH = 16 * 1024;
/** Put in front of the instruction, so that it is read with the right escape character. */
const ESCAPE_DIRECTIVE = "# escape=";

/** The same error at its word, if the word is known and found; else the error itself. Never throws. */
export async function narrow(error: BuildError, source: string, escape: string): Promise<BuildError> {
  if (error.at === null || !(error.cause instanceof WordError)) return error;
  const at = await findWord(error.cause.word, error.at, source, escape);
  if (at === null) return error;
  return new BuildError(error.code, error.message, {
    cause: error.cause,
    at,
    vertex: error.vertex,
    hint: error.hint,
    exitCode: error.exitCode,
  });
}

async function findWord(
  word: string,
  within: SourceRange,
  source: string,
  escape: string,
): Promise<SourceRange | null> {
  const lines = source.split("\n").slice(within.start.line - 1, within.end.line);
  const text = `${ESCAPE_DIRECTIVE}${escape}\n${lines.join("\n")}`;
  if (text.length > INSTRUCTION_MAX_LENGTH) return null;
  const { DockerfileParser } = await import("dockerfile-ast");
  const [instruction] = DockerfileParser.parse(text).getInstructions();
  if (instruction === undefined) return null;
  const range =
    instruction.getInstruction() === word
      ? instruction.getInstructionRange()
      : instruction
          .getArguments()
          .find((argument) => argument.getValue() === word)
          ?.getRange();
  if (range === undefined || range === null) return null;
  // Its lines count from 0 and there is the directive in front: its line 1 is our first.
  const place = (position: { line: number; character: number }): SourceRange["start"] => ({
    line: within.start.line + position.line - 1,
    column: position.character + 1,
  });
  return { file: within.file, start: place(range.start), end: place(range.end) };
}
