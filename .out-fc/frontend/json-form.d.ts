/** The strings of a JSON list; null when the text is not a JSON list. Throws DOCKERFILE_SYNTAX for other elements. */
export declare function readJsonForm(rest: string): readonly string[] | null;
