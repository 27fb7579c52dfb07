// How an error looks: the last log lines of the step, the lines of the Dockerfile with the failing ones marked, the message,
// what to do next. The form is BuildKit's and buildx's, so that tools which read theirs read ours.
import { BuildError } from "../solver/graph/error.js";
import { cleanText } from "./log-text.js";
import { logTime } from "./progress-state.js";
import { textWidth } from "./text-width.js";
const RULE = "--------------------";
/** Lines shown around one marked line, and around several. */
const PAD_ONE = 4;
const PAD_MANY = 2;
/** The lines of `source` around the ranges, those inside marked with >>>; "" when no range lies in the text. */
export function renderExcerpt(source, ranges, colours) {
    const lines = source.text.split("\n").map((line) => line.replace(/\r$/, ""));
    const marked = ranges.map((range) => ({ range, first: range.start.line, last: lastLine(range) }));
    const from = Math.min(...marked.map(({ first }) => first));
    const to = Math.min(Math.max(...marked.map(({ last }) => last)), lines.length);
    if (marked.length === 0 || from < 1 || from > lines.length)
        return "";
    let start = from;
    let end = to;
    for (let added = 0, pad = from === to ? PAD_ONE : PAD_MANY; added < pad; added++) {
        if (start > 1) {
            start--;
            added++;
        }
        if (end < lines.length) {
            end++;
            added++;
        }
    }
    const out = [`${cleanText(source.file)}:${from}`, RULE];
    for (let number = start; number <= end; number++) {
        const here = marked.filter(({ first, last }) => number >= first && number <= last);
        const text = cleanText(lines[number - 1] ?? "");
        const mark = here.length === 0 ? "   " : paint(">>>", colours?.error);
        out.push(` ${String(number).padStart(3)} | ${mark} ${text}`);
        if (colours === null)
            continue;
        const carets = here.map(({ range }) => caretLine(range, number, text)).find((line) => line !== null);
        if (carets)
            out.push(`     |     ${paint(carets, colours.error)}`);
    }
    out.push(RULE);
    return `${out.join("\n")}\n`;
}
/** The last line a range has characters in. */
function lastLine(range) {
    const { start, end } = range;
    return end.line > start.line && end.column <= 1 ? end.line - 1 : Math.max(start.line, end.line);
}
/** "^^^^" under the columns of a range that is only a part of one line; null otherwise. */
function caretLine(range, line, text) {
    const { start, end } = range;
    if (start.line !== line || end.line !== line || end.column <= start.column)
        return null;
    if (start.column <= text.search(/\S/) + 1 && end.column > text.trimEnd().length)
        return null;
    const indent = text
        .slice(0, start.column - 1)
        .replace(/[^\t]/gu, (character) => " ".repeat(textWidth(character)));
    return indent + "^".repeat(Math.max(1, textWidth(text.slice(start.column - 1, end.column - 1))));
}
function paint(text, sgr) {
    return sgr === undefined ? text : `\u001b[${sgr}m${text}\u001b[0m`;
}
/** The block with which BuildKit repeats the last lines of a failed step. */
export function renderTail(step) {
    const lines = step.tail.map((line) => `${logTime(step, line.atMs)} ${cleanText(line.text)}`);
    return `${["------", ` > ${step.name}:`, ...lines, "------"].join("\n")}\n`;
}
/** The list of warnings below a build, in buildx's form. debug: each with its detail, URL and lines. */
export function renderWarnings(warnings, options) {
    const count = warnings.length === 1 ? "1 warning found" : `${warnings.length} warnings found`;
    const title = `${count}${options.debug ? "" : " (use --debug to expand)"}:`;
    let out = `\n ${paint(title, options.colours?.warning)}\n`;
    for (const warning of warnings) {
        const rule = warning.rule === "" ? "" : `${warning.rule}: `;
        const [first] = warning.at;
        out += ` - ${rule}${cleanText(warning.message)}${first === undefined ? "" : ` (line ${first.start.line})`}\n`;
        if (!options.debug)
            continue;
        if (warning.detail !== "")
            out += `${cleanText(warning.detail)}\n`;
        if (warning.url !== "")
            out += `More info: ${cleanText(warning.url)}\n`;
        const source = first === undefined ? undefined : options.sources.get(first.file);
        if (source !== undefined)
            out += renderExcerpt(source, warning.at, options.colours);
        out += "\n";
    }
    return out;
}
/** Everything printed for an error, ending in a newline. Works for anything that was thrown. */
export function renderFailure(thrown, options) {
    const { error, cleanUp } = unwrap(thrown);
    let out = "";
    if (error instanceof BuildError) {
        const step = error.vertex === null ? undefined : options.state?.steps.get(error.vertex);
        if (step !== undefined && step.startedMs !== null)
            out += renderTail(step);
        const source = error.at === null ? undefined : options.sources.get(error.at.file);
        if (error.at !== null && source !== undefined)
            out += renderExcerpt(source, [error.at], options.colours);
    }
    out += `${paint("ERROR:", options.colours?.error)} ${headline(error, options.prefix)}\n`;
    if (error instanceof BuildError && error.hint)
        out += `${paint("hint:", options.colours?.warning)} ${cleanText(error.hint)}\n`;
    if (!(error instanceof BuildError) && !options.debug)
        out += "hint: this looks like a bug in tsbuild; --debug prints where\n";
    if (cleanUp !== null)
        out += `also, while cleaning up: ${headline(cleanUp)}\n`;
    if (options.debug)
        out += stackOf(error);
    return out;
}
/** A failed clean-up hides the error it cleaned up after (`await using`); both are wanted, the first one first. */
function unwrap(thrown) {
    if (thrown instanceof Error &&
        thrown.name === "SuppressedError" &&
        "suppressed" in thrown &&
        "error" in thrown) {
        return { error: unwrap(thrown.suppressed).error, cleanUp: thrown.error };
    }
    return { error: thrown, cleanUp: null };
}
function headline(error, prefix = "") {
    const message = cleanText(error instanceof Error ? error.message : String(error));
    if (!(error instanceof BuildError))
        return `internal error: ${message}`;
    return error.code === "USAGE" ? message : prefix + message; // a wrong command line was never a build
}
function stackOf(error) {
    let out = "";
    for (let cause = error, depth = 0; cause instanceof Error && depth < 8; cause = cause.cause, depth++) {
        out += `${depth === 0 ? "" : "caused by: "}${cleanText(cause.stack ?? cause.message)}\n`;
    }
    return out;
}
//# sourceMappingURL=excerpt.js.map