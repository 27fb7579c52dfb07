// Patterns of ${x#p} ${x%p} ${x/p/r}: "*" any text within a line, "?" one character, "\" before "*", "?" and "\".
// Matching keeps the preference order of a backtracking regular expression (leftmost, then greedy or lazy), but
// every pair of position and token is tried at most once, so the cost is at most text times pattern.

import { BuildError } from "../solver/graph/error.ts";

type Token =
  | { readonly kind: "char"; readonly char: string }
  | { readonly kind: "one" }
  | { readonly kind: "any" };

/** Most pairs of text position and pattern token one match may touch: 4 MiB of marks. */
const MATCH_MAX_STEPS = 32 * 1024 * 1024;

/** Takes a prefix off: the shortest that matches, or the longest when greedy. */
export function trimPrefix(pattern: string, value: string, greedy: boolean): string {
  const text = Array.from(value);
  const tokens = compile(Array.from(pattern), pattern);
  const end = openMatcher(tokens, text, greedy)(0);
  return end === null ? value : text.slice(end).join("");
}

/** Takes a suffix off, by reading pattern and value backwards. */
export function trimSuffix(pattern: string, value: string, greedy: boolean): string {
  const text = Array.from(value).reverse();
  const tokens = [...compile(Array.from(pattern), pattern)].reverse();
  const end = openMatcher(tokens, text, greedy)(0);
  return end === null ? value : text.slice(end).reverse().join("");
}

/** Puts `replacement` for the first match (longest at its place), or for all. */
export function replacePattern(pattern: string, value: string, replacement: string, all: boolean): string {
  const text = Array.from(value);
  const matchAt = openMatcher(compile(Array.from(pattern), pattern), text, true);
  const out: string[] = [];
  let lastEnd = 0;
  let at = 0;
  while (at <= text.length) {
    const start = at;
    const end = matchAt(start);
    if (end === null) {
      at++;
      continue;
    }
    if (!all) {
      return text.slice(0, start).join("") + replacement + text.slice(end).join("");
    }
    for (let index = lastEnd; index < start; index++) out.push(text[index] as string);
    // An empty match directly behind a match is none (Go regexp.ReplaceAll).
    if (end > lastEnd || start === 0) out.push(expandTemplate(replacement, text.slice(start, end).join("")));
    lastEnd = end;
    at = Math.max(end, start + 1);
  }
  for (let index = lastEnd; index < text.length; index++) out.push(text[index] as string);
  return out.join("");
}

/** Go's ReplaceAllString reads $1 and ${name} in the replacement; there are no groups, so only $0 and $$ give text. */
function expandTemplate(replacement: string, match: string): string {
  if (!replacement.includes("$")) return replacement;
  return replacement.replace(/\$(?:\$|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu, (whole, braced, plain) => {
    if (whole === "$$") return "$";
    return (braced ?? plain) === "0" ? match : "";
  });
}

function compile(chars: readonly string[], pattern: string): readonly Token[] {
  const tokens: Token[] = [];
  for (let index = 0; index < chars.length; index++) {
    const char = chars[index] as string;
    if (char === "*") {
      if (tokens.at(-1)?.kind !== "any") tokens.push({ kind: "any" });
    } else if (char === "?") {
      tokens.push({ kind: "one" });
    } else if (char === "\\") {
      const next = chars[index + 1] ?? "\uFFFD";
      // "}" and "/" had to be escaped to stand inside ${}: the escape is not part of the pattern.
      if (next === "}" || next === "/") continue;
      if (next !== "*" && next !== "?" && next !== "\\") {
        throw new BuildError(
          "DOCKERFILE_SYNTAX",
          `invalid pattern (${pattern}) in substitution: invalid escape '\\${next}'`,
        );
      }
      tokens.push({ kind: "char", char: next });
      index++;
    } else {
      tokens.push({ kind: "char", char });
    }
  }
  return tokens;
}

/** A function that gives the end of the preferred match at a position. Its marks are shared by all positions: a pair that
 *  failed once fails always. */
function openMatcher(
  tokens: readonly Token[],
  text: readonly string[],
  greedy: boolean,
): (start: number) => number | null {
  const width = tokens.length + 1;
  const pairs = width * (text.length + 1);
  if (pairs > MATCH_MAX_STEPS) {
    throw new BuildError(
      "LIMIT_EXCEEDED",
      "a pattern in a substitution is too long for the text it is matched against",
    );
  }
  const tried = new Uint8Array(Math.ceil(pairs / 8));
  return (start) => {
    const stack: number[] = [start * width];
    while (stack.length > 0) {
      const pair = stack.pop() as number;
      const bit = 1 << (pair & 7);
      if (((tried[pair >> 3] ?? 0) & bit) !== 0) continue;
      tried[pair >> 3] = (tried[pair >> 3] ?? 0) | bit;
      const position = Math.floor(pair / width);
      const index = pair % width;
      const token = tokens[index];
      if (token === undefined) return position;
      const char = text[position];
      if (token.kind === "any") {
        const stop = position * width + index + 1;
        const more = char !== undefined && char !== "\n" ? (position + 1) * width + index : null;
        // The last pushed is tried first.
        if (greedy) {
          stack.push(stop);
          if (more !== null) stack.push(more);
        } else {
          if (more !== null) stack.push(more);
          stack.push(stop);
        }
      } else if (char !== undefined && (token.kind === "one" ? char !== "\n" : char === token.char)) {
        stack.push((position + 1) * width + index + 1);
      }
    }
    return null;
  };
}
