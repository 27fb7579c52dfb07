// Words and variables: Dockerfile reference, "Environment replacement".

import assert from "node:assert/strict";
import fc from "fast-check";
import { EXPANSION_MAX_DEPTH, EXPANSION_MAX_LENGTH, expandWord, expandWords } from "../../frontend/words.ts";
import { BuildError } from "../../solver/graph/error.ts";

const VALUES = new Map([
  ["S", "foobarbaz"],
  ["F", "a.tar.gz"],
  ["P", "/usr/local/bin"],
  ["W", "x  y"],
  ["E", ""],
  ["1", "one"],
  ["@", "all"],
  ["größe", "7"],
]);
const BACKSLASH = { escape: "\\" };
const expand = (text: string): string => expandWord(text, VALUES, BACKSLASH).text;

describe("expanding a word", () => {
  for (const [text, result] of [
    ["a$S", "afoobarbaz"],
    ["${S}x", "foobarbazx"],
    ["$Sx$", "$"],
    ["$ $.", "$ $."],
    ["$NONE|", "|"],
    ["$1x $12x $@", "onex x all"],
    ["$größe", "7"],
    ["${N-d}|${N:-d}|${E-d}|${E:-d}", "d|d||d"],
    ["${N+d}|${N:+d}|${E+d}|${E:+d}|${S+d}", "||d||d"],
    ["${S?no}${S:?no}", "foobarbazfoobarbaz"],
    ["${N:-${S:+${E:-deep}}}", "deep"],
    ["${S#f*b}|${S##f*b}", "arbaz|az"],
    ["${S%b*}|${S%%b*}", "foobar|foo"],
    ["${F%.*}|${F%%.*}|${F#*.}|${F##*.}", "a.tar|a|tar.gz|gz"],
    ["${S#?oo}|${S#x}|${N#x}", "barbaz|foobarbaz|"],
    ["${S/ba/BA}|${S//ba?/<>}", "fooBArbaz|foo<><>"],
    ["${P//\\//-}|${P/*l/X}", "-usr-local-bin|X/bin"],
    ["${S/$N/x}|${F//./$1}", "xfoobarbaz|aonetaronegz"],
    ["'$S' \"$S\" \\$S", "$S foobarbaz $S"],
    ['"a\\"b\\n"', 'a"b\\n'],
    ["a\\ b\\\\", "a b\\"],
    ["\\", ""],
  ] as const) {
    it(`${text} is ${JSON.stringify(result)}`, () => assert.equal(expand(text), result));
  }

  for (const [text, message] of [
    ["${}", "syntax error: bad substitution"],
    ["${:-x}", "syntax error: bad substitution"],
    ["${{S}", "syntax error: bad substitution"],
    ["${", "syntax error: missing '}'"],
    ["${S", "unsupported modifier (\uFFFD) in substitution"],
    ["${S!x}", "unsupported modifier (!) in substitution"],
    ["${S:=x}", "unsupported modifier (:=) in substitution"],
    ["${S:1:2}", "unsupported modifier (:1) in substitution"],
    ["${S:#x}", "unsupported modifier (:#) in substitution"],
    ["${S:-x", "syntax error: missing '}'"],
    ["${S/x}", "syntax error: missing '/' in ${}"],
    ["${S/x/y", "syntax error: missing '}'"],
    ["${N?}", "N: is not allowed to be unset"],
    ["${E:?}", "E: is not allowed to be empty"],
    ["${N?use $1}", "N: use one"],
    ["${S#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"],
    ["'abc", "unexpected end of statement while looking for matching single-quote"],
    ['"abc', "unexpected end of statement while looking for matching double-quote"],
  ] as const) {
    it(`refuses ${text}`, () => {
      assert.throws(
        () => expand(text),
        (error) =>
          error instanceof BuildError &&
          error.code === "DOCKERFILE_SYNTAX" &&
          error.message.startsWith("failed to process ") &&
          error.message.endsWith(`: ${message}`),
      );
    });
  }

  it("tells which names it found and which it missed, each once", () => {
    const { matched, unmatched } = expandWord("$S$N${S:-$M}$N", VALUES, BACKSLASH);
    assert.deepEqual([matched, unmatched], [["S"], ["N", "M"]]);
  });

  it("takes the escape it is given", () => {
    assert.equal(expandWord("c:\\$S`$S", VALUES, { escape: "`" }).text, "c:\\foobarbaz$S");
  });

  it("leaves unset variables, quotes and escapes as asked", () => {
    const raw = { escape: "\\", rawQuotes: true, rawEscapes: true, skipUnset: true };
    const text = "'a' \"b$N\" \\$c ${N:-'x'} ${N%y}";
    assert.equal(expandWord(text, VALUES, raw).text, text);
    assert.equal(
      expandWord("it's $S \\$S", VALUES, { escape: "\\", skipQuotes: true }).text,
      "it's foobarbaz $S",
    );
  });
});

describe("splitting into words", () => {
  it("splits values at their blanks, but not what is quoted or escaped", () => {
    const { words } = expandWords(' a$W "$W" \'c d\' e\\ f "" $E', VALUES, BACKSLASH);
    assert.deepEqual(words, ["ax", "y", "x  y", "c d", "e f"]);
  });
});

describe("limits", () => {
  it("stops nesting and growth with LIMIT_EXCEEDED", () => {
    const limit = (error: unknown): boolean => error instanceof BuildError && error.code === "LIMIT_EXCEEDED";
    const depth = EXPANSION_MAX_DEPTH + 1;
    assert.throws(() => expand("${N:-".repeat(depth) + "}".repeat(depth)), limit);
    assert.equal(expand(`${"${N:-".repeat(depth - 1)}x${"}".repeat(depth - 1)}`), "x");
    const big = new Map([["B", "x".repeat(EXPANSION_MAX_LENGTH / 2 + 1)]]);
    assert.throws(() => expandWord("$B$B", big, BACKSLASH), limit);
  });

  it("matches patterns in time proportional to text and pattern", () => {
    const values = new Map([["A", "a".repeat(20_000)]]);
    const start = performance.now();
    assert.equal(expandWord(`\${A%%${"*a".repeat(200)}b}`, values, BACKSLASH).text.length, 20_000);
    assert.ok(performance.now() - start < 5000);
  });

  it("expands any text or refuses it with a BuildError", () => {
    const piece = fc.constantFrom(
      "$",
      "{",
      "}",
      "S",
      "N",
      ":",
      "-",
      "+",
      "?",
      "#",
      "%",
      "/",
      "*",
      "\\",
      "'",
      '"',
      " ",
      "é",
      "😀",
      "\n",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.boolean(), (pieces, skipUnset) => {
        try {
          expandWord(pieces.join(""), VALUES, { escape: "\\", skipUnset });
        } catch (error) {
          assert.ok(error instanceof BuildError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("gives back a text without special characters unchanged", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const plain = text.replace(/[$'"\\\uFEFF]/g, "");
        assert.equal(expandWord(plain, VALUES, BACKSLASH).text, plain);
      }),
    );
  });
});
