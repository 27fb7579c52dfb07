import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import type { Instruction, ParsedDockerfile } from "./instruction.ts";
/** A Dockerfile as far as it could be read: with an error, `parsed` holds what came before it (for the build checks). */
export interface Reading {
    readonly parsed: ParsedDockerfile;
    readonly error: BuildError | null;
}
/** Parses a Dockerfile. Throws DOCKERFILE_SYNTAX with place and hint, LIMIT_EXCEEDED. `file` is for messages. */
export declare function parseDockerfile(file: string, data: Uint8Array): Promise<ParsedDockerfile>;
/** Parses a Dockerfile; an error in it is returned with what could be read. */
export declare function readDockerfile(file: string, data: Uint8Array): Promise<Reading>;
/** Parses the text of an ONBUILD trigger out of a base image; `at` is the FROM that brought it in. Throws DOCKERFILE_SYNTAX. */
export declare function parseTrigger(text: string, at: SourceRange): Instruction;
