import { type SourceRange } from "../solver/graph/error.ts";
import type { Flag, Heredoc, Instruction } from "./instruction.ts";
import type { Arguments } from "./parse-arguments.ts";
import type { SplitCommand } from "./split-command.ts";
/** An instruction whose grammar has been read. `body` are the raw here documents, in order of their words. */
export interface RawInstruction {
    readonly at: SourceRange;
    readonly line: string;
    readonly split: SplitCommand;
    readonly flags: readonly Flag[];
    readonly arguments: Arguments;
    readonly heredocs: readonly Heredoc[];
    readonly comments: readonly string[];
}
/** Turns a read instruction into data. Throws DOCKERFILE_SYNTAX, with a place only where it is narrower than the line. */
export declare function checkInstruction(raw: RawInstruction): Instruction;
