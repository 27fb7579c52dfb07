// Regular expressions of clients and users: RE2's syntax, which is Go's, in time linear in the text. JavaScript's own go back and forth for as
// long as who wrote them likes, and all builds of a daemon stand still meanwhile (threat model D1).

import { BuildError } from "../solver/graph/error.ts";

const PATTERN_MAX_CHARS = 1024;

/** A compiled expression. */
export interface LinearExpression {
  /** Does it match somewhere in a text? */
  test(text: string): boolean;
  /** The text with each match replaced. `template`: $1, $name, ${name} and $$, as in Go's Regexp.Expand. Throws LIMIT_EXCEEDED when the
   *  result is longer than `maxChars`. */
  replaceAll(text: string, template: string, maxChars: number): string;
}

/** Compiles an expression. `where`: what it stands in, for the error. Throws USAGE for one that is none. */
export async function compileExpression(pattern: string, where: string): Promise<LinearExpression> {
  const shown = where.length > 200 ? `${where.slice(0, 200)}…` : where;
  if (pattern.length > PATTERN_MAX_CHARS)
    throw new BuildError("USAGE", `the regular expression in ${shown} is too long`, {
      hint: `at most ${PATTERN_MAX_CHARS} characters are allowed`,
    });
  const { RE2JS } = await import("re2js");
  let expression: ReturnType<typeof RE2JS.compile>;
  try {
    expression = RE2JS.compile(pattern);
  } catch (cause) {
    throw new BuildError("USAGE", `not a regular expression in ${shown}`, { cause });
  }
  return {
    test: (text) => expression.matcher(text).find(),
    replaceAll(text, template, maxChars) {
      const matcher = expression.matcher(text);
      const groups = expression.namedGroups();
      const groupOf = (name: string): string => {
        const index = /^\d+$/.test(name) ? Number(name) : (groups[name] ?? -1);
        return index < 0 || index > matcher.groupCount() ? "" : (matcher.group(index) ?? "");
      };
      let out = "";
      let end = 0;
      let isFirst = true;
      while (matcher.find()) {
        const from = matcher.start();
        // An empty match right behind another one is none: Go's Regexp.ReplaceAllString.
        if (matcher.end() === from && from === end && !isFirst) continue;
        out += text.slice(end, from) + expand(template, groupOf);
        end = matcher.end();
        isFirst = false;
        if (out.length > maxChars)
          throw new BuildError("LIMIT_EXCEEDED", `what ${shown} makes is over ${maxChars} characters`);
      }
      return out + text.slice(end);
    },
  };
}

/** Go's Regexp.Expand: a name is as long as it can be, and what is no reference stays as it is. */
function expand(template: string, groupOf: (name: string) => string): string {
  return template.replace(/\$(?:\$|\{(\w+)\}|(\w+))/g, (_, braced?: string, plain?: string) => {
    const name = braced ?? plain;
    return name === undefined ? "$" : groupOf(name);
  });
}

/** An expression for a text in which "*" stands for anything; what it stood for are groups. */
export function wildcardPattern(text: string): string {
  const quoted = text.replace(/[\\.+?()|[\]{}^$*]/g, (one) => (one === "*" ? "(.*)" : `\\${one}`));
  return `^${quoted}$`;
}
