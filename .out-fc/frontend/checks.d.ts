import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { type RuleName } from "./check-rules.ts";
import type { CheckWarning } from "./frontend.ts";
import type { Directive, Instruction, ParsedDockerfile } from "./instruction.ts";
export interface Checks {
    /** Reports a finding, unless its rule is switched off for the file or by a comment above the instruction. */
    warn(rule: RuleName, detail: string, at: SourceRange): void;
    /** By line, within a line in the order found. The same finding twice (two variables of one name) is listed twice. */
    list(): readonly CheckWarning[];
    /** Findings are to fail the build (`error=true`). */
    readonly failOnWarning: boolean;
    /** CHECKS_FAILED when findings fail the build and there are some; else null. */
    failure(): BuildError | null;
}
/** Opens the checks of a build. `directive`: the file's `# check=`; `buildArg`: BUILDKIT_DOCKERFILE_CHECK, which takes
 *  its place; `instructions`: for the comments above them. Throws DOCKERFILE_SYNTAX or USAGE for unknown options. */
export declare function openChecks(directive: Directive | null, buildArg?: string | null, instructions?: readonly Instruction[]): Checks;
/** The check directive of a parsed file. */
export declare function checkDirective(parsed: ParsedDockerfile): Directive | null;
/** Findings of the whole file, whether its stages are reached or not: what the parser saw, stage names and casing. */
export declare function staticChecks(parsed: ParsedDockerfile, checks: Checks): void;
/** Findings within one reached stage. `commands`: the instructions behind its FROM (with triggers of the base image);
 *  `hasShell`: the base image, or a stage it is built on, has a SHELL of its own. */
export declare function stageChecks(commands: readonly Instruction[], hasShell: boolean, checks: Checks): void;
