// Inputs for the parser and the word expander: token soup near the Dockerfile grammar, well-formed files in two
// equivalent layouts, and words together with their expansion.

import fc from "fast-check";

const KEYWORDS = [
  "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "LABEL", "CMD", "ENTRYPOINT", "WORKDIR", "USER", "VOLUME", "EXPOSE",
  "SHELL", "HEALTHCHECK", "ONBUILD", "STOPSIGNAL", "MAINTAINER", "from", "Run", "copy", "onBuild", "NOTHING",
] as const; // biome-ignore format: a list
const PIECES = [
  " ", "  ", "\t", "\n", "\n", "\r\n", "\\\n", "\\ \n", "`\n", "\\", "`", '"', "'", "#", "# syntax=docker/dockerfile:1\n",
  "# escape=`\n", "# check=skip=all\n", "# a remark\n", "\ufeff", "\u00a0", "\u0085", "\u2028", "\v", "\f", "\0",
  "<<EOF", "<<-EOF", '<<"EOF"', "<<'E F'", "3<<E", "<< EOF", "EOF\n", "EOF", "\tEOF\n", "E\n", "<<", "[", "]", '["a"]',
  '["a", "b"]', "[1]", '["\\u0041"', ",", "--", "--from=a", "--chown=1:2", "--mount=type=cache,target=/a", "--link",
  "--platform=$P", "--interval=3s", "--x", "=", "a", "b=c", 'd="e f"', "$A", "${B:-c}", "${", "}", "AS", "as", "scratch",
  "base:1", "NONE", "CMD", "é", "😀", "\ud800", "/", ".", "0", "80/tcp", "8000-8010",
] as const; // biome-ignore format: a list

/** Pieces of Dockerfiles in any order. */
export const soup: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...PIECES) },
      { weight: 2, arbitrary: fc.constantFrom(...KEYWORDS).map((keyword) => `\n${keyword} `) },
      { weight: 1, arbitrary: fc.string({ maxLength: 8 }) },
    ),
    { maxLength: 60 },
  )
  .chain((pieces) => fc.boolean().map((hasBase) => `${hasBase ? "FROM base:1\n" : ""}${pieces.join("")}`));

const word = fc
  .array(
    fc.constantFrom(
      "a",
      "b1",
      "é",
      "😀",
      ".",
      "/",
      "-",
      "$A",
      "${B}",
      "${C:-d}",
      "\\x",
      "\\$",
      '"x y"',
      "'$z'",
      '""',
      "%",
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((parts) => parts.join("").replace(/^-/, "w-")); // no flags
const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,6}$/);
const plain = fc.stringMatching(/^[a-z0-9./]{1,8}$/);
const text = fc
  .array(fc.oneof(word, fc.constantFrom("&&", "||", "|", "#", ">", "1<2", "=")), {
    minLength: 1,
    maxLength: 6,
  })
  .map((words) => words.join(" "));
const json = fc
  .array(fc.string({ unit: "grapheme", maxLength: 6 }), { minLength: 1, maxLength: 4 })
  .map((words) => JSON.stringify(words));
const pair = fc.tuple(name, word).map(([key, value]) => `${key}=${value}`);
const body = fc
  .array(fc.constantFrom("", "line", "\ttab", "# no remark", "RUN no", "$A ${B}", "EOFX", "\\"), {
    maxLength: 4,
  })
  .map((lines) => lines.map((line) => `${line}\n`).join(""));

/** An instruction: its line, and what follows the line as it is. */
interface Written {
  readonly line: string;
  readonly body: string;
}

const one = (line: fc.Arbitrary<string>): fc.Arbitrary<Written> =>
  line.map((value) => ({ line: value, body: "" }));
const join = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map((values) => values.join(" "));
const keyword = fc.constant<string>;

const instruction: fc.Arbitrary<Written> = fc.oneof(
  one(join(keyword("RUN"), fc.oneof(text, json))),
  one(join(keyword("RUN --mount=type=cache,target=/c --network=none"), text)),
  one(join(keyword("CMD"), fc.oneof(text, json))),
  one(join(keyword("ENTRYPOINT"), json)),
  one(join(keyword("SHELL"), json)),
  one(join(keyword("ENV"), pair, pair)),
  one(join(keyword("ENV"), name, text)),
  one(join(keyword("LABEL"), pair)),
  one(join(keyword("ARG"), name, pair)),
  one(join(keyword("WORKDIR"), text)),
  one(join(keyword("USER"), plain)),
  one(join(keyword("STOPSIGNAL"), plain)),
  one(join(keyword("MAINTAINER"), text)),
  one(join(keyword("VOLUME"), fc.oneof(plain, json.filter((list) => JSON.parse(list).every((item: string) => item.trim() === item && item !== ""))))),
  one(join(keyword("EXPOSE"), fc.constantFrom("80", "1-3/udp"), fc.constantFrom("53/udp", "9"))),
  one(join(keyword("COPY --chown=1:2 --exclude=*.md"), plain, plain)),
  one(join(keyword("ADD --checksum=sha256:00"), plain, plain)),
  one(join(keyword("HEALTHCHECK --interval=3s CMD"), text)),
  one(join(keyword("ONBUILD RUN"), text)),
  fc.record({ line: join(keyword("RUN"), fc.constantFrom("<<EOF", "<<-EOF", "cat <<'EOF' > f", "3<<EOF x")), body: body.map((lines) => `${lines}EOF\n`) }),
  fc.record({ line: join(keyword("COPY <<EOF"), plain), body: body.map((lines) => `${lines}EOF\n`) }),
  fc.record({ line: join(keyword("ONBUILD COPY <<EOF"), plain), body: body.map((lines) => `${lines}EOF\n`) }),
); // biome-ignore format: a table

/** Two texts that mean the same: one instruction a line, and the same with continuations, remarks and blanks. */
export const twoLayouts: fc.Arbitrary<{ readonly canonical: string; readonly laidOut: string }> = fc
  .tuple(
    fc.constantFrom("\\", "`"),
    fc.array(fc.tuple(instruction, fc.array(fc.nat({ max: 99 }), { maxLength: 4 }), fc.nat({ max: 5 })), {
      maxLength: 12,
    }),
  )
  .map(([escape, instructions]) => {
    const written = instructions.map(([value]) => `${value.line}\n${value.body}`);
    const laidOut = instructions.map(([value, cuts, noise]) => layOut(value, cuts, noise, escape));
    const head = `# escape=${escape}\n\nFROM base:1\n`;
    return { canonical: head + written.join(""), laidOut: head + laidOut.join("") };
  });

function layOut({ line, body }: Written, cuts: readonly number[], noise: number, escape: string): string {
  const places = [...line.matchAll(/(?<=[^\\`]) (?!#)/g)].map((match) => match.index);
  const chosen = new Set(cuts.map((cut) => places[cut % Math.max(places.length, 1)] ?? -1));
  let result = "";
  for (const [index, char] of Array.from({ length: line.length }, (_, i) => line[i] as string).entries()) {
    result += chosen.has(index)
      ? `${char}${escape}${" ".repeat(noise % 3)}\n${noise > 3 ? "  # in between\n" : ""}`
      : char;
  }
  const blanks = " ".repeat(noise);
  return `${"\n".repeat(noise % 2)}${blanks}${result}${noise > 2 && !line.startsWith("ONBUILD") ? " \t" : ""}\n${body}`;
}

/** A word and what becomes of it. */
export interface Expansion {
  readonly source: string;
  readonly result: string;
}

/** Variables of `expansions`. */
export const VALUES: ReadonlyMap<string, string> = new Map([
  ["A", "alpha"],
  ["B", "be ta"],
  ["C", "a.tar.gz"],
  ["D", "/x/y/x"],
  ["EMPTY", ""],
]);

const variable = fc.constantFrom("A", "B", "C", "D", "EMPTY", "UNSET");
const pattern = fc
  .array(fc.constantFrom("a", "l", ".", "x", "*", "?", "t"), { maxLength: 4 })
  .map((parts) => parts.join("").replace(/\*+/g, "*"));

/** Words by grammar, with their values computed beside it in the plainest way. */
export const expansions: fc.Arbitrary<Expansion> = fc.letrec<{ word: Expansion; part: Expansion }>((tie) => ({
  word: fc.array(tie("part"), { maxLength: 5 }).map((parts) => ({
    source: parts.map((part) => part.source).join(""),
    result: parts.map((part) => part.result).join(""),
  })),
  part: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom("x", "é", "😀", "-", ".", ":", " ").map((char) => ({ source: char, result: char })),
    fc.constantFrom("$", "'", '"', "\\", "a", "}").map((char) => ({ source: `\\${char}`, result: char })),
    fc.stringMatching(/^[a-z $"\\]{0,4}$/).map((inner) => ({ source: `'${inner}'`, result: inner })),
    variable.map((key) => ({ source: `\${${key}}`, result: VALUES.get(key) ?? "" })),
    fc.tuple(variable, fc.constantFrom("-", ":-", "+", ":+"), tie("word")).map(([key, sign, inner]) => {
      const value = VALUES.get(key);
      const isSet = value !== undefined && !(sign.startsWith(":") && value === "");
      const other = isSet === sign.endsWith("+") ? inner.result : sign.endsWith("+") ? "" : (value as string);
      return { source: `\${${key}${sign}${inner.source}}`, result: other };
    }),
    fc.tuple(variable, fc.constantFrom("#", "##", "%", "%%"), pattern).map(([key, sign, text]) => ({
      source: `\${${key}${sign}${text}}`,
      result: trim(VALUES.get(key) ?? "", sign, text),
    })),
    fc
      .tuple(
        variable,
        fc.constantFrom("/", "//"),
        pattern.filter((text) => /[^*]/.test(text)),
        fc.stringMatching(/^[A-Z]{0,3}$/),
      )
      .map(([key, sign, text, put]) => ({
        source: `\${${key}${sign}${text}/${put}}`,
        result: (VALUES.get(key) ?? "").replace(expression(text, sign === "/" ? "u" : "gu"), put),
      })),
  ),
})).word;

/** All cuts are tried: no cleverness that the expander may share. */
function trim(value: string, sign: string, text: string): string {
  const whole = new RegExp(`^${source(text)}$`, "u");
  const cuts = Array.from({ length: value.length + 1 }, (_, index) => index);
  if (sign.length === 2) cuts.reverse();
  for (const cut of cuts) {
    const isPrefix = sign.startsWith("#");
    const piece = isPrefix ? value.slice(0, cut) : value.slice(value.length - cut);
    if (whole.test(piece)) return isPrefix ? value.slice(cut) : value.slice(0, value.length - cut);
  }
  return value;
}

function expression(text: string, flags: string): RegExp {
  return new RegExp(source(text), flags);
}

function source(text: string): string {
  return text.replace(/[.*?]/g, (char) => (char === "." ? "\\." : char === "*" ? ".*" : "."));
}
