// Lines of a Dockerfile: single lines, continuation lines joined, with a mapping from joined text back to the file.

import { BuildError, type Position, type SourceRange } from "../solver/graph/error.ts";
import { isSpace, trimLeft, trimNewline } from "./go-strings.ts";

/** A line including its end must fit the buffer of Go's bufio.Scanner. */
const LINE_MAX_BYTES = 64 * 1024;

/** Joined text of an instruction, and from which place of the file each part of it came. */
export interface JoinedLine {
  readonly text: string;
  readonly parts: readonly { readonly offset: number; readonly at: Position }[];
  readonly lastLine: number; // number of the last line read
  readonly lastText: string;
  readonly hasEmptyLine: boolean;
}

/** A line as it stands in the file. */
export interface Line {
  readonly text: string; // with its line end
  readonly number: number; // from 1
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
export function openLines(file: string, source: string): Lines {
  let position = source.charCodeAt(0) === 0xfeff ? 1 : 0;
  let last: Line = { text: "", number: 0 };
  let lastNumbers: ReadonlyMap<string, number> | null = null;
  const next = (): Line | null => {
    if (position >= source.length) return null;
    const newline = source.indexOf("\n", position);
    const end = newline < 0 ? source.length : newline + 1;
    last = { text: source.slice(position, end), number: last.number + 1 };
    position = end;
    // A UTF-16 unit takes at most three bytes, so most lines need not be measured.
    if (last.text.length * 3 > LINE_MAX_BYTES) checkLineLength(file, last);
    return last;
  };
  return {
    next,
    last: () => last,
    takeUntil(isEnd) {
      const start = position;
      let before = start;
      for (let line = next(); line !== null; line = next()) {
        if (isEnd(line.text)) return source.slice(start, before);
        before = position;
      }
      return null;
    },
    isBelow(text) {
      // One pass for all questions: a file may ask at every line.
      lastNumbers ??= new Map(source.split("\n").map((line, index) => [trimNewline(line), index + 1]));
      return (lastNumbers.get(text) ?? 0) > last.number;
    },
  };
}

function checkLineLength(file: string, line: Line): void {
  const max = line.text.endsWith("\n") ? LINE_MAX_BYTES : LINE_MAX_BYTES - 1;
  if (Buffer.byteLength(line.text) <= max) return;
  throw new BuildError(
    "LIMIT_EXCEEDED",
    `dockerfile line greater than max allowed size of ${LINE_MAX_BYTES - 1}`,
    { at: wholeLine(file, line.number, "") },
  );
}

/** Where a character of the joined text stands in the file. */
export function placeOf(joined: JoinedLine, offset: number): Position {
  const { parts } = joined;
  let low = 0;
  for (let high = parts.length - 1; low < high; ) {
    const middle = Math.ceil((low + high) / 2);
    if ((parts[middle]?.offset ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  const found = parts[low] ?? { offset: 0, at: { line: 1, column: 1 } };
  return { line: found.at.line, column: found.at.column + offset - found.offset };
}

/** The place behind the last character of a line. */
export function endOf(line: number, text: string): Position {
  return { line, column: trimNewline(text).length + 1 };
}

/** A line without its end. */
export function wholeLine(file: string, line: number, text: string): SourceRange {
  return { file, start: { line, column: 1 }, end: endOf(line, text) };
}

/** Joins a line with those it continues on. Comment lines and empty lines in between are left out. */
export function joinLines(lines: Lines, first: string, start: Position, escape: string): JoinedLine {
  let last = lines.last();
  let cut = continuationStart(first, escape);
  if (cut === null) {
    return {
      text: first,
      parts: [{ offset: 0, at: start }],
      lastLine: last.number,
      lastText: last.text,
      hasEmptyLine: false,
    };
  }
  let text = first.slice(0, cut);
  let hasEmptyLine = false;
  const parts = [{ offset: 0, at: start }];
  while (cut !== null) {
    const line = lines.next();
    if (line === null) break; // a continuation at the end of the file continues with nothing
    last = line;
    const part = trimNewline(line.text);
    if (isComment(line.text)) continue;
    if (trimLeft(part) === "") {
      hasEmptyLine = true;
      continue;
    }
    cut = continuationStart(part, escape);
    parts.push({ offset: text.length, at: { line: line.number, column: 1 } });
    text += cut === null ? part : part.slice(0, cut);
  }
  return { text, parts, lastLine: last.number, lastText: last.text, hasEmptyLine };
}

/** Where the continuation mark of a line stands: an escape at its end, blanks may follow, that is not escaped itself. */
function continuationStart(line: string, escape: string): number | null {
  let end = line.length;
  while (end > 0 && (line[end - 1] === " " || line[end - 1] === "\t")) end--;
  if (end === 0 || line[end - 1] !== escape || (end > 1 && line[end - 2] === escape)) return null;
  return end - 1;
}

/** Whether the first character that is no blank is a "#". */
export function isComment(line: string): boolean {
  let start = 0;
  while (start < line.length && isSpace(line.charCodeAt(start))) start++;
  return line[start] === "#";
}
