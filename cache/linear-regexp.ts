// Regular expressions of clients and users: RE2's syntax, which is Go's, in time linear in the text. JavaScript's own go back and forth for as
// long as who wrote them likes, and all builds of a daemon stand still meanwhile (threat model D1).

import { BuildError } from "../solver/graph/error.ts";

const PATTERN_MAX_CHARS = 1024;

/** Does an expression match somewhere in a text? `where`: what it stands in, for the error. Throws USAGE for one that is none. */
export async function compileExpression(pattern: string, where: string): Promise<(text: string) => boolean> {
  const shown = JSON.stringify(where.length > 200 ? `${where.slice(0, 200)}…` : where);
  if (pattern.length > PATTERN_MAX_CHARS)
    throw new BuildError("USAGE", `the regular expression in the filter ${shown} is too long`, {
      hint: `at most ${PATTERN_MAX_CHARS} characters are allowed`,
    });
  const { RE2JS } = await import("re2js");
  try {
    const expression = RE2JS.compile(pattern);
    return (text) => expression.matcher(text).find();
  } catch (cause) {
    throw new BuildError("USAGE", `not a regular expression in the filter ${shown}`, { cause });
  }
}
