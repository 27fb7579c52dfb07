/** Blanks between arguments. Narrower than Go's white space: a no-break space belongs to the argument. */
export declare const BLANKS: RegExp;
export interface RawFlag {
    readonly text: string;
    readonly start: number;
    readonly end: number;
}
export interface SplitCommand {
    readonly keyword: string;
    readonly flags: readonly RawFlag[];
    readonly rest: string;
}
/** Splits the joined text of an instruction. */
export declare function splitCommand(line: string): SplitCommand;
/** Splits into words at white space, leaving quotes and escapes in place for the later expansion. */
export declare function splitWords(rest: string, escape: string): readonly string[];
