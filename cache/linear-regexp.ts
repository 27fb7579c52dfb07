// Regular expressions of clients and users: RE2's syntax, which is Go's, in time linear in the text. JavaScript's own go back and forth for as
// long as who wrote them likes, and all builds of a daemon stand still meanwhile (threat model D1).

import { BuildError } from "../solver/graph/error.ts";

const PATTERN_MAX_CHARS = 1024;
/** Characters when all repetitions are written out, at most: what takes long to compile. 200,000 take 0.2 s. */
const EXPANDED_MAX_CHARS = 200_000;
/** RE2 takes no more copies of anything, nested repetitions multiplied. */
const COPIES_MAX = 1000;
/** Instructions of a compiled expression. Time to match is in proportion to them and to the text: 2,000 take up to 1 s for 16 KiB. */
const PROGRAM_MAX = 2000;

/** A compiled expression. */
export interface LinearExpression {
  /** Instructions: a match takes up to this many steps for each character. */
  readonly size: number;
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
  if (pattern.length * copiesIn(pattern) > EXPANDED_MAX_CHARS) throw tooComplex(shown);
  const { RE2JS } = await import("re2js");
  let expression: ReturnType<typeof RE2JS.compile>;
  try {
    expression = RE2JS.compile(pattern);
  } catch (cause) {
    throw new BuildError("USAGE", `not a regular expression in ${shown}`, { cause });
  }
  const size = expression.programSize();
  if (size > PROGRAM_MAX) throw tooComplex(shown);
  return {
    size,
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

/** At least as often as any part of the expression is repeated by {n} and {n,m}. */
function copiesIn(pattern: string): number {
  let copies = 1;
  for (const [, least = "", most = ""] of pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g))
    copies = Math.min(COPIES_MAX, copies * Math.max(1, Number(least), Number(most)));
  return copies;
}

function tooComplex(shown: string): BuildError {
  return new BuildError("USAGE", `the regular expression in ${shown} is too complex`, {
    hint: "use fewer or smaller repetitions such as {1,100}",
  });
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
