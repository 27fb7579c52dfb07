// Path patterns: github.com/moby/patternmatcher and Go's path/filepath.

import assert from "node:assert/strict";
import fc from "fast-check";
import { BuildError } from "../../solver/graph/error.ts";
import { cleanPath, compilePatterns, matchPath } from "../../solver/graph/patterns.ts";

const isSyntaxError = (error: unknown): boolean =>
  error instanceof BuildError && error.code === "DOCKERFILE_SYNTAX";

describe("patterns of .dockerignore", () => {
  for (const [pattern, yes, no] of [
    ["a", "a a/b a/b/c", "b ab x/a"],
    ["*", "a a/b .x", ""],
    ["*.go", "x.go .go x.go/y", "a/x.go xgo"],
    ["a?c", "abc a.c/x", "ac a/c abbc"],
    ["**", "a a/b", ""],
    ["**/b", "b a/b a/x/b b/c", "ab a/bc"],
    ["a/**", "a/b a/b/c", "a b/a"],
    ["a/**/b", "a/b a/x/b a/x/y/b a/b/c", "a/xb ab b"],
    ["**/a/**", "a/b x/a/b", "a x/ab"],
    ["**/*.log", "x.log a/b/x.log", "log x.logs"],
    ["a**", "a ab ab/c", "ba"],
    ["**a", "a ba x/ba", "ab"],
    ["[a-cx]1", "a1 c1 x1", "d1 -1"],
    ["[^a]1", "b1", "a1"],
    ["q\\[1\\]", "q[1]", "q1 q\\[1\\]"],
    ["st\\*r", "st*r", "star st\\*r"],
    ["./a/../b/", "b b/c", "a"],
    ["a.b+(c)", "a.b+(c)", "axb+(c)"],
    ["ü?", "üü", "ü"],
  ] as const) {
    it(`${pattern} matches ${yes}${no === "" ? "" : ` and not ${no}`}`, () => {
      const patterns = compilePatterns([pattern]);
      for (const path of yes.split(" ")) assert.equal(patterns.matches(path), true, path);
      for (const path of no.split(" ").filter(Boolean)) assert.equal(patterns.matches(path), false, path);
    });
  }

  it("lets the last matching line decide and says which it was", () => {
    const patterns = compilePatterns(["", "*.md", "docs", "!README.md", "docs/x", "!docs/keep", "README.md"]);
    const answers = ["a.md", "README.md", "docs/keep/y", "docs/x", "src"].map((path) => [
      patterns.matches(path),
      patterns.which(path),
    ]);
    assert.deepEqual(answers, [
      [true, 1],
      [true, 6],
      [false, 5],
      [true, 2],
      [false, null],
    ]);
    assert.equal(compilePatterns(["a", "!a/b"]).matches("a/b"), false);
  });

  it("says which excluded directories may hold something that is taken back", () => {
    assert.equal(compilePatterns(["a"]).mayContainIncluded("a"), false);
    const literal = compilePatterns(["a", "c", "!a/b/x", "!c/d/**"]);
    assert.deepEqual(
      ["a", "a/b", "a/c", "c", "c/d", "b"].map((path) => literal.mayContainIncluded(path)),
      [true, true, false, true, true, false],
    );
    assert.equal(compilePatterns(["a", "!**/x"]).mayContainIncluded("a"), true);
  });

  it("answers the same in any order of asking", () => {
    const name = fc.constantFrom("a", "b", "ab", "x.log");
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
    const part = fc.constantFrom("a", "b", "*", "**", "?", "a*", "*.log", "[ab]");
    const pattern = fc
      .tuple(fc.boolean(), fc.array(part, { minLength: 1, maxLength: 3 }))
      .map(([isException, parts]) => (isException ? "!" : "") + parts.join("/"));
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 5 }), fc.array(path, { maxLength: 8 }), (list, paths) => {
        const warm = compilePatterns(list);
        for (const each of paths) warm.matches(each);
        for (const each of paths) assert.equal(warm.matches(each), compilePatterns(list).matches(each), each);
        // What lies below an excluded directory is excluded wherever it need not be entered.
        for (const each of paths) {
          const slash = each.lastIndexOf("/");
          const parent = each.slice(0, Math.max(slash, 0));
          if (slash > 0 && warm.matches(parent) && !warm.mayContainIncluded(parent)) {
            assert.equal(warm.matches(each), true, each);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("refuses malformed patterns and a lone exclamation mark", () => {
    for (const pattern of ["[", "[]a]", "[a-]", "a\\", "[a", "!", "[-x]", "[z-a]", "**/[^b-a]"]) {
      assert.throws(() => compilePatterns([pattern]), isSyntaxError, pattern);
    }
  });

  it("takes no more than path times pattern", () => {
    const path = "a".repeat(4000);
    const start = performance.now();
    const patterns = compilePatterns([
      `${"*a".repeat(50)}b`,
      `${"**/".repeat(200)}b`,
      `${"a*/".repeat(50)}**/b`,
    ]);
    assert.equal(patterns.matches(path), false);
    assert.ok(performance.now() - start < 5000);
  });
});

// The table of Go's own test of path.Match.
describe("matchPath", () => {
  for (const [pattern, name, expected] of [
    ["abc", "abc", true],
    ["*", "abc", true],
    ["*c", "abc", true],
    ["a*", "a", true],
    ["a*", "ab/c", false],
    ["a*/b", "abc/b", true],
    ["a*/b", "a/c/b", false],
    ["a*b*c*d*e*/f", "axbxcxdxe/f", true],
    ["a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false],
    ["a*b?c*x", "abxbbxdbxebxczzx", true],
    ["a*b?c*x", "abxbbxdbxebxczzy", false],
    ["ab[c]", "abc", true],
    ["ab[b-d]", "abc", true],
    ["ab[e-g]", "abc", false],
    ["ab[^c]", "abc", false],
    ["ab[^e-g]", "abc", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "ab", false],
    ["a?b", "a☺b", true],
    ["a[^a]b", "a☺b", true],
    ["a???b", "a☺b", false],
    ["[a-ζ]*", "α", true],
    ["*[a-ζ]", "A", false],
    ["a?b", "a/b", false],
    ["a*b", "a/b", false],
    ["[\\]a]", "]", true],
    ["[\\-]", "-", true],
    ["[x\\-]", "z", false],
    ["[\\-x]", "a", false],
    ["*x", "xxx", true],
  ] as const) {
    it(`${pattern} ${expected ? "matches" : "does not match"} ${name}`, () => {
      assert.equal(matchPath(pattern, name), expected);
    });
  }

  for (const pattern of ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "a/b["]) {
    it(`refuses ${pattern}`, () => {
      assert.throws(() => matchPath(pattern, "zzz"), isSyntaxError);
    });
  }
});

describe("cleanPath", () => {
  for (const [path, cleaned] of [
    ["", "."],
    ["a//b/.", "a/b"],
    ["../a/../../b", "../../b"],
    ["/../a/", "/a"],
    ["/", "/"],
    ["a/..", "."],
  ]) {
    it(`makes ${JSON.stringify(path)} ${cleaned}`, () => assert.equal(cleanPath(path ?? ""), cleaned));
  }
});
