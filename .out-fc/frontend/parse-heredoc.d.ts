import type { Heredoc } from "./instruction.ts";
/** A here document's head; the body follows the instruction. */
export type HeredocHead = Omit<Heredoc, "content" | "raw">;
/** isSpaced: blanks stood between << and the word. Then it may as well be a shift, as in $((1 << 4)). */
export type FoundHeredoc = HeredocHead & {
    readonly isSpaced: boolean;
};
/** Reads a word such as 3<<-"EOF"; null when it is none. Throws DOCKERFILE_SYNTAX when its quotes do not match. */
export declare function parseHeredocWord(word: string): HeredocHead | null;
/** As `parseHeredocWord`, but a faulty word is simply none. */
export declare function heredocWordOrNull(word: string): HeredocHead | null;
/** The heads of all here documents of an instruction (its text with the keyword), in order. */
export declare function findHeredocs(line: string): readonly FoundHeredoc[];
/** Whether a raw line of the file (with its line end) ends the document. */
export declare function endsHeredoc(head: HeredocHead, line: string): boolean;
/** <<-: takes the tabs off the start of every line. */
export declare function chompHeredoc(content: string): string;
