// An instruction's text taken apart: keyword, flags, and the rest that each instruction reads in its own way.
import { isSpace, trimSpace } from "./go-strings.js";
/** Blanks between arguments. Narrower than Go's white space: a no-break space belongs to the argument. */
export const BLANKS = /[\t\v\f\r ]+/;
/** Splits the joined text of an instruction. */
export function splitCommand(line) {
    const lead = line.length - trimStartLength(line);
    const text = trimSpace(line);
    const blank = BLANKS.exec(text);
    if (blank === null)
        return { keyword: text, flags: [], rest: "" };
    const keyword = text.slice(0, blank.index);
    const start = blank.index + blank[0].length;
    const { flags, rest } = takeFlags(text.slice(start), lead + start);
    return { keyword, flags, rest: trimSpace(rest) };
}
function trimStartLength(line) {
    let start = 0;
    while (start < line.length && isSpace(line.charCodeAt(start)))
        start++;
    return line.length - start;
}
/** Takes the words starting with "--" off the front; "--" alone ends them. Quotes may stand anywhere in a flag, and
 *  escapes are backslashes whatever the escape directive says. */
function takeFlags(text, offset) {
    const flags = [];
    let position = 0;
    for (;;) {
        while (position < text.length && isSpace(text.charCodeAt(position)))
            position++;
        if (position >= text.length)
            return { flags, rest: "" };
        if (!text.startsWith("--", position))
            return { flags, rest: text.slice(position) };
        const start = position;
        let word = "";
        let quote = "";
        for (; position < text.length; position++) {
            let char = text[position];
            if (quote === "" && isSpace(char.charCodeAt(0)))
                break;
            if (quote === "" ? char === "'" || char === '"' : char === quote) {
                quote = quote === "" ? char : "";
                continue;
            }
            if (char === "\\") {
                position++;
                const next = text[position];
                if (next === undefined)
                    break; // an escape at the end escapes nothing
                char = next;
            }
            word += char;
        }
        position = Math.min(position, text.length);
        if (word === "--")
            return { flags, rest: text.slice(position) };
        flags.push({ text: word, start: offset + start, end: offset + position });
    }
}
/** Splits into words at white space, leaving quotes and escapes in place for the later expansion. */
export function splitWords(rest, escape) {
    const words = [];
    let position = 0;
    while (position < rest.length) {
        while (position < rest.length && isSpace(rest.charCodeAt(position)))
            position++;
        if (position >= rest.length)
            break;
        let start = position;
        let word = "";
        let quote = "";
        for (; position < rest.length; position++) {
            const char = rest[position];
            if (quote === "" && isSpace(char.charCodeAt(0)))
                break;
            if (char === escape && quote !== "'") {
                // Skips what is escaped; an escape at the very end is dropped.
                if (position + 1 === rest.length) {
                    word += rest.slice(start, position);
                    start = rest.length;
                }
                position++;
            }
            else if (quote === "") {
                if (char === "'" || char === '"')
                    quote = char;
            }
            else if (char === quote) {
                quote = "";
            }
        }
        position = Math.min(position, rest.length);
        word += rest.slice(start, position);
        if (word !== "")
            words.push(word);
    }
    return words;
}
//# sourceMappingURL=split-command.js.map