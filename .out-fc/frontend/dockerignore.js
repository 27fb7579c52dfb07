// .dockerignore: its lines as patterns (Dockerfile reference, ".dockerignore file"). Matching is solver/graph/patterns.ts.
import { cleanPath } from "../solver/graph/patterns.js";
import { trimNewline, trimSpace } from "./go-strings.js";
/** Reads a .dockerignore. Only a "#" in the first column starts a comment; blanks around a pattern are dropped, "/" at its
 *  front as well, and "." and ".." are resolved. Nothing in it is an error here. */
export function readIgnore(data) {
    const text = new TextDecoder("utf-8").decode(data); // drops a byte order mark
    const patterns = [];
    const lines = [];
    text.split("\n").forEach((line, index) => {
        if (line.startsWith("#"))
            return;
        let pattern = trimSpace(trimNewline(line));
        if (pattern === "")
            return;
        const isException = pattern.startsWith("!");
        if (isException)
            pattern = trimSpace(pattern.slice(1));
        if (pattern !== "") {
            pattern = cleanPath(pattern);
            if (pattern.length > 1 && pattern.startsWith("/"))
                pattern = pattern.slice(1);
        }
        patterns.push(isException ? `!${pattern}` : pattern);
        lines.push(index + 1);
    });
    return { patterns, lines };
}
//# sourceMappingURL=dockerignore.js.map