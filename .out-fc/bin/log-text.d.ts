/** Longest line that is kept, in UTF-16 units. */
export declare const LINE_MAX: number;
export type TextMode = "terminal" | "plain";
/** Turns one stream of bytes into safe lines. */
export interface LineReader {
    /** Takes bytes; calls `line` for each line that is complete now, without its newline. */
    push(data: Uint8Array, line: (text: string) => void): void;
    /** The line begun but not ended, as far as it is known. */
    partial(): string;
    /** Takes the unfinished line away and returns it; "" when there is none. */
    flush(): string;
}
/** Opens a reader for one stream (its own decoder: characters may be cut by chunk boundaries). */
export declare function openLineReader(mode: TextMode): LineReader;
/** One line of text from elsewhere (names of steps, errors) with the plain policy; newlines stay. */
export declare function cleanText(text: string): string;
