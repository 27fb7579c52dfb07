import type { OneConversion } from "./conversion.ts";
import type { Outline, Target } from "./frontend.ts";
import type { ParsedDockerfile } from "./instruction.ts";
/** Arguments, secrets and agents that the target and all it needs make use of, by their place in the file. */
export declare function outlineOf({ conversion, target }: OneConversion): Outline;
/** The stages of a file as they could be asked for with --target; FROM is shown as written. */
export declare function targetsOf(parsed: ParsedDockerfile): readonly Target[];
