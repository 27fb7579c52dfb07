import { BuildError } from "../solver/graph/error.ts";
/** As the cause of a BuildError: the word of the instruction that was not understood. */
export declare class WordError extends Error {
    readonly name = "WordError";
    readonly word: string;
    constructor(word: string);
}
/** The same error at its word, if the word is known and found; else the error itself. Never throws. */
export declare function narrow(error: BuildError, source: string, escape: string): Promise<BuildError>;
