/** The option at edit distance 1 or 2 from `word`, the first of the nearest; null when there is none or `word` is one. */
export declare function suggest(word: string, options: Iterable<string>, caseSensitive: boolean): string | null;
