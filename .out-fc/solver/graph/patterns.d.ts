/** A compiled list of patterns; the last that matches decides, and "!" takes back. Paths are relative, cleaned, with "/". */
export interface Patterns {
    readonly isEmpty: boolean;
    readonly hasExceptions: boolean;
    /** Whether the path, or a directory above it, is matched and not taken back. */
    matches(path: string): boolean;
    /** Index (in the list given) of the pattern that decided, also when it took back; null: none did. */
    which(path: string): number | null;
    /** For a directory that `matches`: whether something below may be taken back. False: it need not be entered. */
    mayContainIncluded(directory: string): boolean;
}
/** Compiles patterns as they come out of .dockerignore. Blank ones are passed over. Throws DOCKERFILE_SYNTAX for malformed
 *  ones. Semantics: github.com/moby/patternmatcher, MatchesUsingParentResults. */
export declare function compilePatterns(list: readonly string[]): Patterns;
/** Go's filepath.Match: the whole name must match; "*" and "?" do not match "/". Throws DOCKERFILE_SYNTAX for a malformed
 *  pattern, also where the name could not have matched. */
export declare function matchPath(pattern: string, name: string): boolean;
/** Go's filepath.Clean: no empty parts, no ".", no ".." that can be resolved, no "/" at the end; "." for nothing. */
export declare function cleanPath(path: string): string;
