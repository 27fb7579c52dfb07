/** Where the value of a variable comes from; undefined: not set. */
export interface Lookup {
    get(name: string): string | undefined;
}
export interface WordOptions {
    readonly escape: string;
    /** Variables that are not set stay as they are written. */
    readonly skipUnset?: boolean;
    /** Quotes have no meaning (content of a here document). */
    readonly skipQuotes?: boolean;
    /** Quotes keep their meaning and stay in the result. */
    readonly rawQuotes?: boolean;
    /** Escapes keep their meaning and stay in the result. */
    readonly rawEscapes?: boolean;
}
/** Names that were asked for, each once, in order of appearance. */
export interface Names {
    readonly matched: readonly string[];
    readonly unmatched: readonly string[];
}
/** Deepest nesting of ${a:-${b:-…}}. */
export declare const EXPANSION_MAX_DEPTH = 200;
/** Longest result of one expansion, in UTF-16 units. Stops `ARG B=$A$A` ladders that double every line. */
export declare const EXPANSION_MAX_LENGTH: number;
/** No variable is set. */
export declare const NO_VARIABLES: Lookup;
/** Expands a word; blanks stay. Throws DOCKERFILE_SYNTAX (bad substitution, missing quote) and LIMIT_EXCEEDED. */
export declare function expandWord(text: string, lookup: Lookup, options: WordOptions): {
    readonly text: string;
} & Names;
/** Expands a text and splits the result at blanks that were not quoted. Throws as `expandWord`. */
export declare function expandWords(text: string, lookup: Lookup, options: WordOptions): {
    readonly words: readonly string[];
} & Names;
