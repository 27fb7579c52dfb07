// The JSON form of arguments: ["a", "b"]. What is not a JSON list of strings is the shell form, but a list holding
// something else than strings is an error.
import { BuildError } from "../solver/graph/error.js";
import { trimLeft } from "./go-strings.js";
/** The strings of a JSON list; null when the text is not a JSON list. Throws DOCKERFILE_SYNTAX for other elements. */
export function readJsonForm(rest) {
    const text = trimLeft(rest);
    if (!text.startsWith("["))
        return null;
    let list;
    try {
        list = JSON.parse(text);
    }
    catch {
        return null; // not JSON: then it is the shell form
    }
    if (!Array.isArray(list))
        return null;
    return list.map((item) => {
        if (typeof item === "string")
            return wellFormed(item);
        throw new BuildError("DOCKERFILE_SYNTAX", "when using JSON array syntax, arrays must be comprised of strings only", { hint: 'put every element in double quotes, as in ["a", "1"]' });
    });
}
/** A lone half of a surrogate pair (\ud800) becomes U+FFFD, as in every UTF-8 program. */
function wellFormed(text) {
    return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}
//# sourceMappingURL=json-form.js.map