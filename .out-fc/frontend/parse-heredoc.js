// Here documents: finding <<EOF words in an instruction and reading their bodies (Dockerfile reference,
// "Here-documents").
import { trimNewline } from "./go-strings.js";
import { expandWords, NO_VARIABLES } from "./words.js";
const HEREDOC_WORD = /^(\d*)<<(-?)([^<]*)$/s;
/** Reads a word such as 3<<-"EOF"; null when it is none. Throws DOCKERFILE_SYNTAX when its quotes do not match. */
export function parseHeredocWord(word) {
    if (!word.includes("<<"))
        return null;
    const match = HEREDOC_WORD.exec(word);
    const rest = match?.[3] ?? "";
    if (match === null || rest === "")
        return null;
    // Read with and without its quotes: more quotes in one of them means that a part was quoted. Here documents know only
    // the backslash, whatever the escape directive says.
    const options = { escape: "\\", skipUnset: true };
    const plain = expandWords(rest, NO_VARIABLES, options).words;
    const name = plain[0];
    if (plain.length !== 1 || name === undefined)
        return null;
    const quoted = expandWords(rest, NO_VARIABLES, { ...options, rawQuotes: true }).words;
    return {
        name,
        expand: countQuotes(name) === countQuotes(quoted.join("")),
        chomp: match[2] === "-",
        fd: match[1] === "" ? 0 : Number(match[1]),
    };
}
/** As `parseHeredocWord`, but a faulty word is simply none. */
export function heredocWordOrNull(word) {
    try {
        return parseHeredocWord(word);
    }
    catch {
        return null; // such a word stays an argument; BuildKit drops the error here as well
    }
}
/** The heads of all here documents of an instruction (its text with the keyword), in order. */
export function findHeredocs(line) {
    if (!line.includes("<<"))
        return [];
    let words;
    try {
        words = expandWords(line, NO_VARIABLES, {
            escape: "\\",
            rawQuotes: true,
            rawEscapes: true,
            skipUnset: true,
        }).words;
    }
    catch {
        return []; // quotes that do not match: the line is left to the shell, without here documents
    }
    const heads = [];
    for (const [index, word] of words.entries()) {
        const next = words[index + 1];
        const isSpaced = next !== undefined && /^\d*<<$/.test(word);
        const head = parseHeredocWord(isSpaced ? `${word} ${next}` : word);
        if (head !== null)
            heads.push({ ...head, isSpaced });
    }
    return heads;
}
/** Whether a raw line of the file (with its line end) ends the document. */
export function endsHeredoc(head, line) {
    if (!line.includes(head.name))
        return false;
    const text = trimNewline(line);
    return (head.chomp ? text.replace(/^\t+/, "") : text) === head.name;
}
/** <<-: takes the tabs off the start of every line. */
export function chompHeredoc(content) {
    return content.replace(/(^|\n)\t+/g, "$1");
}
function countQuotes(text) {
    return text.split(/['"]/).length - 1;
}
//# sourceMappingURL=parse-heredoc.js.map