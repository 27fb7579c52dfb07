import type { ChownOpt } from "../solver/graph/op.ts";
import type { Instruction } from "./instruction.ts";
export type Copy = Extract<Instruction, {
    kind: "copy" | "add";
}>;
/** The flags, expanded and read. */
export interface CopyFlags {
    readonly chown: string;
    readonly chmod: string;
    readonly mode: number | null;
    readonly modeStr: string;
    readonly link: boolean;
    readonly parents: boolean;
    readonly excludes: readonly string[];
    readonly checksum: string;
    readonly keepGitDir: boolean | null;
    readonly unpack: boolean | null;
}
/** Reads the flags; `expand` fills in variables. Throws DOCKERFILE_SYNTAX. */
export declare function readFlags(copy: Copy, expand: (word: string) => string): CopyFlags;
/** USER[:GROUP] by name or number. Names are looked up in the files that are copied onto. */
export declare function readOwner(text: string, input: number | null): ChownOpt;
