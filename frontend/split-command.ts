// Splits an instruction's text: keyword, flags, and the rest, which each instruction parses in its own way.

import { isSpace, trimLeft, trimSpace } from "./go-strings.ts";

/** Blanks between arguments. Narrower than Go's white space: a no-break space belongs to the argument. */
export const BLANKS: RegExp = /[\t\v\f\r ]+/;

export interface RawFlag {
  readonly text: string; // --name or --name=value, quotes and escapes taken off
  readonly start: number; // in the instruction's text
  readonly end: number;
}

export interface SplitCommand {
  readonly keyword: string; // as written
  readonly kind: string; // the keyword in lower case
  readonly flags: readonly RawFlag[];
  readonly rest: string; // trimmed
}

/** Splits the joined text of an instruction. */
export function splitCommand(line: string): SplitCommand {
  const text = trimSpace(line);
  const blank = text.search(BLANKS);
  const end = blank < 0 ? text.length : blank;
  const keyword = text.slice(0, end);
  const kind = keyword.toLowerCase();
  const args = trimLeft(text.slice(end));
  // Most instructions have no flags.
  if (!args.startsWith("--")) return { keyword, kind, flags: NO_FLAGS, rest: args };
  const lead = line.length - trimLeft(line).length;
  const { flags, rest } = takeFlags(args, lead + text.length - args.length);
  return { keyword, kind, flags, rest: trimSpace(rest) };
}
const NO_FLAGS: readonly RawFlag[] = [];

/** Takes the words starting with "--" off the front; "--" alone ends them. Quotes may stand anywhere in a flag, and
 *  escapes are backslashes whatever the escape directive says. */
function takeFlags(text: string, offset: number): { flags: readonly RawFlag[]; rest: string } {
  const flags: RawFlag[] = [];
  let position = 0;
  for (;;) {
    while (position < text.length && isSpace(text.charCodeAt(position))) position++;
    if (position >= text.length) return { flags, rest: "" };
    if (!text.startsWith("--", position)) return { flags, rest: text.slice(position) };
    const start = position;
    let word = "";
    let quote = "";
    for (; position < text.length; position++) {
      let char = text[position] as string;
      if (quote === "" && isSpace(char.charCodeAt(0))) break;
      if (quote === "" ? char === "'" || char === '"' : char === quote) {
        quote = quote === "" ? char : "";
        continue;
      }
      if (char === "\\") {
        position++;
        const next = text[position];
        if (next === undefined) break; // an escape at the end escapes nothing
        char = next;
      }
      word += char;
    }
    position = Math.min(position, text.length);
    if (word === "--") return { flags, rest: text.slice(position) };
    flags.push({ text: word, start: offset + start, end: offset + position });
  }
}

/** Splits into words at white space, leaving quotes and escapes in place for the later expansion. */
export function splitWords(rest: string, escape: string): readonly string[] {
  const words: string[] = [];
  let position = 0;
  while (position < rest.length) {
    while (position < rest.length && isSpace(rest.charCodeAt(position))) position++;
    if (position >= rest.length) break;
    let start = position;
    let word = "";
    let quote = "";
    for (; position < rest.length; position++) {
      const char = rest[position] as string;
      if (quote === "" && isSpace(char.charCodeAt(0))) break;
      if (char === escape && quote !== "'") {
        // Skips what is escaped; an escape at the very end is dropped.
        if (position + 1 === rest.length) {
          word += rest.slice(start, position);
          start = rest.length;
        }
        position++;
      } else if (quote === "") {
        if (char === "'" || char === '"') quote = char;
      } else if (char === quote) {
        quote = "";
      }
    }
    position = Math.min(position, rest.length);
    word += rest.slice(start, position);
    if (word !== "") words.push(word);
  }
  return words;
}
