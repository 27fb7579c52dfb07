/** One flag. bool: takes no value but may be given one (--push=false). list: may be repeated. */
export interface FlagSpec {
    readonly name: string;
    readonly short?: string;
    readonly kind: "bool" | "string" | "list";
    /** One line for the help. Empty: not listed. */
    readonly help: string;
    /** What the value is called in the help. */
    readonly value?: string;
    /** Shown in the help. */
    readonly initial?: string;
}
export interface CommandSpec extends CommandFlags {
    readonly name: string;
    readonly summary: string;
}
/** What a command's own file says of it; name and summary stand in commands.ts. */
export interface CommandFlags {
    readonly usage: string;
    readonly flags: readonly FlagSpec[];
    /** How many positional arguments there may be; max null: any number. */
    readonly positionals: {
        readonly min: number;
        readonly max: number | null;
    };
    /** Flags end at the first positional (run: the rest belongs to the command in the image). */
    readonly stopsAtPositional?: boolean;
    /** Exit code for a wrong command line: docker run has 125, all others 1. */
    readonly usageExitCode?: number;
}
/** Understood by every command, before or after its name. */
export declare const GLOBAL_FLAGS: readonly FlagSpec[];
export interface ParsedFlags {
    /** Was the flag given (and not as =false)? */
    bool(name: string): boolean;
    /** Last value given, or null. */
    one(name: string): string | null;
    /** All values in order. */
    all(name: string): readonly string[];
    /** Given at all, whatever its value? */
    has(name: string): boolean;
    readonly positionals: readonly string[];
}
/** Splits a command line by the table. Throws USAGE; counts positionals unless --help is among the flags. */
export declare function parseFlags(spec: CommandSpec, args: readonly string[]): ParsedFlags;
/** The candidate that `word` was probably meant to be: fewest edits, at most a third of its length. null: none is near. */
export declare function nearest(word: string, candidates: readonly string[]): string | null;
/** Help of one command, out of its table. */
export declare function commandHelp(spec: CommandSpec): string;
/** Help lines of flags, sorted by name, descriptions in one column. */
export declare function flagLines(flags: readonly FlagSpec[]): string[];
