import { type Position, type SourceRange } from "../solver/graph/error.ts";
/** Joined text of an instruction, and from which place of the file each part of it came. */
export interface JoinedLine {
    readonly text: string;
    readonly parts: readonly {
        readonly offset: number;
        readonly at: Position;
    }[];
    readonly lastLine: number;
    readonly lastText: string;
    readonly hasEmptyLine: boolean;
}
/** A line as it stands in the file. */
export interface Line {
    readonly text: string;
    readonly number: number;
}
/** A place in a text that moves on line by line. */
export interface Lines {
    /** The next line; null at the end. Throws LIMIT_EXCEEDED. */
    next(): Line | null;
    /** The line that `next` or `takeUntil` gave last. */
    last(): Line;
    /** The text up to the line for which `isEnd` holds, which is taken as well; null when there is none. */
    takeUntil(isEnd: (line: string) => boolean): string | null;
    /** Whether one of the lines still to come is exactly this. */
    isBelow(text: string): boolean;
}
/** Opens a text at its first line, without a byte order mark. `file` is for errors. */
export declare function openLines(file: string, source: string): Lines;
/** Where a character of the joined text stands in the file. */
export declare function placeOf(joined: JoinedLine, offset: number): Position;
/** The place behind the last character of a line. */
export declare function endOf(line: number, text: string): Position;
/** A line without its end. */
export declare function wholeLine(file: string, line: number, text: string): SourceRange;
/** Joins a line with those it continues on. Comment lines and empty lines in between are left out. */
export declare function joinLines(lines: Lines, first: string, start: Position, escape: string, readDirective: (line: string, at: SourceRange) => boolean): JoinedLine;
/** Whether the first character that is no blank is a "#". */
export declare function isComment(line: string): boolean;
