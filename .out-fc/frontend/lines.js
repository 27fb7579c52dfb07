// Lines of a Dockerfile: one by one, joined where they continue, with the way back from joined text to the file.
import { BuildError } from "../solver/graph/error.js";
import { isSpace, trimLeft, trimNewline } from "./go-strings.js";
/** A line including its end must fit the buffer of Go's bufio.Scanner. */
const LINE_MAX_BYTES = 64 * 1024;
/** Opens a text at its first line, without a byte order mark. `file` is for errors. */
export function openLines(file, source) {
    let position = source.charCodeAt(0) === 0xfeff ? 1 : 0;
    let last = { text: "", number: 0 };
    let lastNumbers = null;
    const next = () => {
        if (position >= source.length)
            return null;
        const newline = source.indexOf("\n", position);
        const end = newline < 0 ? source.length : newline + 1;
        last = { text: source.slice(position, end), number: last.number + 1 };
        position = end;
        // A UTF-16 unit takes at most three bytes, so most lines need not be measured.
        if (last.text.length * 3 > LINE_MAX_BYTES)
            checkLineLength(file, last);
        return last;
    };
    return {
        next,
        last: () => last,
        takeUntil(isEnd) {
            const start = position;
            let before = start;
            for (let line = next(); line !== null; line = next()) {
                if (isEnd(line.text))
                    return source.slice(start, before);
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
function checkLineLength(file, line) {
    const max = line.text.endsWith("\n") ? LINE_MAX_BYTES : LINE_MAX_BYTES - 1;
    if (Buffer.byteLength(line.text) <= max)
        return;
    throw new BuildError("LIMIT_EXCEEDED", `dockerfile line greater than max allowed size of ${LINE_MAX_BYTES - 1}`, { at: wholeLine(file, line.number, "") });
}
/** Where a character of the joined text stands in the file. */
export function placeOf(joined, offset) {
    const { parts } = joined;
    let low = 0;
    for (let high = parts.length - 1; low < high;) {
        const middle = Math.ceil((low + high) / 2);
        if ((parts[middle]?.offset ?? 0) <= offset)
            low = middle;
        else
            high = middle - 1;
    }
    const found = parts[low] ?? { offset: 0, at: { line: 1, column: 1 } };
    return { line: found.at.line, column: found.at.column + offset - found.offset };
}
/** The place behind the last character of a line. */
export function endOf(line, text) {
    return { line, column: trimNewline(text).length + 1 };
}
/** A line without its end. */
export function wholeLine(file, line, text) {
    return { file, start: { line, column: 1 }, end: endOf(line, text) };
}
/** Joins a line with those it continues on. Comment lines and empty lines in between are left out. */
export function joinLines(lines, first, start, escape, readDirective) {
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
        if (line === null)
            break; // a continuation at the end of the file continues with nothing
        last = line;
        const part = trimNewline(line.text);
        readDirective(part, { file: "", start, end: start });
        if (isComment(line.text))
            continue;
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
function continuationStart(line, escape) {
    let end = line.length;
    while (end > 0 && (line[end - 1] === " " || line[end - 1] === "\t"))
        end--;
    if (end === 0 || line[end - 1] !== escape || (end > 1 && line[end - 2] === escape))
        return null;
    return end - 1;
}
/** Whether the first character that is no blank is a "#". */
export function isComment(line) {
    let start = 0;
    while (start < line.length && isSpace(line.charCodeAt(start)))
        start++;
    return line[start] === "#";
}
//# sourceMappingURL=lines.js.map