// Parser directives: "# name=value" lines at the very top (Dockerfile reference, "Parser directives").

import { BuildError, type SourceRange } from "../solver/graph/error.ts";
import { trimSpace } from "./go-strings.ts";
import type { Directive } from "./instruction.ts";

const NAMES: ReadonlySet<string> = new Set(["syntax", "escape", "check"]);
// White space is Go's \s; the value is everything behind "=", trimmed. "//" is for `syntax` in files of other languages.
const DIRECTIVE = {
  "#": /^#[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=(.*)$/s,
  "//": /^\/\/[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=(.*)$/s,
} as const;

export interface DirectiveReader {
  /** Reads the next line of the file. Null once anything but a known directive was seen. Throws DOCKERFILE_SYNTAX when a
   *  directive comes twice. */
  read(line: string, at: SourceRange): Directive | null;
}

export function openDirectives(comment: "#" | "//" = "#"): DirectiveReader {
  const seen = new Set<string>();
  let done = false;
  return {
    read(line, at) {
      if (done) return null;
      const match = DIRECTIVE[comment].exec(line);
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
export function readEscape(directive: Directive): "\\" | "`" {
  if (directive.value === "\\" || directive.value === "`") return directive.value;
  throw new BuildError(
    "DOCKERFILE_SYNTAX",
    `invalid escape token '${directive.value}' does not match \` or \\`,
    { at: directive.at },
  );
}
