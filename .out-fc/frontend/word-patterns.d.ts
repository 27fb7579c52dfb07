/** Takes a prefix off: the shortest that matches, or the longest when greedy. */
export declare function trimPrefix(pattern: string, value: string, greedy: boolean): string;
/** Takes a suffix off, by reading pattern and value backwards. */
export declare function trimSuffix(pattern: string, value: string, greedy: boolean): string;
/** Puts `replacement` for the first match (longest at its place), or for all. */
export declare function replacePattern(pattern: string, value: string, replacement: string, all: boolean): string;
