// Parser directives: "# name=value" lines at the very top (Dockerfile reference, "Parser directives").
import { BuildError } from "../solver/graph/error.js";
import { trimSpace } from "./go-strings.js";
const NAMES = new Set(["syntax", "escape", "check"]);
// White space is Go's \s; the value is everything behind "=", trimmed.
const DIRECTIVE = /^#[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=(.*)$/s;
export function openDirectives() {
    const seen = new Set();
    let done = false;
    return {
        read(line, at) {
            if (done)
                return null;
            const match = DIRECTIVE.exec(line);
            const name = match?.[1]?.toLowerCase() ?? "";
            const rest = match?.[2] ?? "";
            const value = trimSpace(rest);
            if (!NAMES.has(name) || rest === "") {
                done = true;
                return null;
            }
            if (seen.has(name)) {
                throw new BuildError("DOCKERFILE_SYNTAX", `only one ${name} parser directive can be used`, { at });
            }
            seen.add(name);
            return { name, value, at };
        },
    };
}
/** The escape character of an escape directive. Throws DOCKERFILE_SYNTAX for anything but backslash and backtick. */
export function readEscape(directive) {
    if (directive.value === "\\" || directive.value === "`")
        return directive.value;
    throw new BuildError("DOCKERFILE_SYNTAX", `invalid escape token '${directive.value}' does not match \` or \\`, { at: directive.at });
}
//# sourceMappingURL=directives.js.map