import type { ParseWarning } from "./instruction.ts";
import type { RawInstruction } from "./parse-instruction.ts";
/** StageNameCasing, FromAsCasing, MaintainerDeprecated and InvalidDefinitionDescription. */
export declare function definitionWarnings(raw: RawInstruction): readonly ParseWarning[];
