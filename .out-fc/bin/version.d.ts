/** Semantic version of this package. */
export declare function packageVersion(): string;
