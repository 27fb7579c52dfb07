/** Changes a mode (permission and special bits); `isDirectory` matters for X. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;
/** Parses octal digits or clauses like "u+rw,go=u-w". Throws COPY_FAILED on anything else. */
export declare function parseMode(text: string): ModeChange;
