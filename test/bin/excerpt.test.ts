import { equal, match, ok } from "node:assert/strict";
import { renderExcerpt, renderFailure, renderWarnings } from "../../bin/excerpt.ts";
import { openProgressState } from "../../bin/progress-state.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";

const SOURCE = { file: "Dockerfile", text: "FROM base\n\nRUN false\nCOPY a \\\n  b\nCMD x\n" };
const COLOURS = { run: "34", cancel: "33", error: "31", warning: "33" };
const at = (line: number, column: number, endLine: number, endColumn: number): SourceRange => ({
  file: "Dockerfile",
  start: { line, column },
  end: { line: endLine, column: endColumn },
});

describe("excerpts", () => {
  it("marks one line among two above and two below", () => {
    equal(
      renderExcerpt(SOURCE, [at(3, 1, 3, 10)], null),
      `Dockerfile:3
--------------------
   1 |     FROM base
   2 |${"     "}
   3 | >>> RUN false
   4 |     COPY a \\
   5 |       b
--------------------
`,
    );
  });

  it("cuts lines that are longer than anybody reads", () => {
    const text = `RUN ${"x".repeat(2_000_000)}`;
    ok(renderExcerpt({ file: "Dockerfile", text }, [at(1, 1, 1, 2_000_000)], null).length < 1_200);
  });

  it("marks all lines of an instruction, with one above and one below", () => {
    equal(
      renderExcerpt(SOURCE, [at(4, 1, 5, 4)], null),
      `Dockerfile:4
--------------------
   3 |     RUN false
   4 | >>> COPY a \\
   5 | >>>   b
   6 |     CMD x
--------------------
`,
    );
  });

  it("points at the columns on a terminal with colours", () => {
    const out = renderExcerpt(SOURCE, [at(3, 5, 3, 10)], COLOURS);
    ok(
      out.includes("   3 | \u001b[31m>>>\u001b[0m RUN false\n     |     \u001b[31m    ^^^^^\u001b[0m\n"),
      out,
    );
  });

  it("shows control characters of a hostile Dockerfile to nobody", () => {
    const out = renderExcerpt({ file: "D\u001b[2J", text: "RUN \u001b]0;x\u0007hi" }, [at(1, 1, 1, 9)], null);
    equal(out, "D:1\n--------------------\n   1 | >>> RUN hi\n--------------------\n");
  });

  it("is empty for a place outside the text", () => {
    equal(renderExcerpt(SOURCE, [at(99, 1, 99, 2)], null), "");
  });
});

describe("errors", () => {
  const vertex = digestOf("step");
  const state = openProgressState("plain");
  state.apply({ kind: "vertex", vertex, name: "[2/2] RUN false", inputs: [], at: [] });
  state.apply({ kind: "started", vertex, atMs: 1000 });
  state.apply({ kind: "log", vertex, atMs: 1123, fd: 2, data: new TextEncoder().encode("oh no\n") });
  const options = {
    sources: new Map([["Dockerfile", SOURCE]]),
    state,
    colours: null,
    prefix: "failed to build: failed to solve: ",
    debug: false,
  };

  it("show the log, the lines, the message and what to do", () => {
    const error = new BuildError(
      "EXEC_FAILED",
      'process "/bin/sh -c false" did not complete successfully: exit code: 1',
      {
        at: at(3, 1, 3, 10),
        vertex,
        hint: "try true",
        exitCode: 1,
      },
    );
    equal(
      renderFailure(error, options),
      `------
 > [2/2] RUN false:
0.123 oh no
------
Dockerfile:3
--------------------
   1 |     FROM base
   2 |${"     "}
   3 | >>> RUN false
   4 |     COPY a \\
   5 |       b
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1
hint: try true
`,
    );
  });

  it("of the command line are no failed builds", () => {
    equal(renderFailure(new BuildError("USAGE", "unknown flag: --x"), options), "ERROR: unknown flag: --x\n");
  });

  it("have a stack only with --debug", () => {
    const bug = new TypeError("x is undefined");
    match(renderFailure(bug, options), /^ERROR: internal error: x is undefined\nhint: .*--debug/);
    ok(!renderFailure(bug, options).includes("at "));
    match(renderFailure(bug, { ...options, debug: true }), /\n {4}at /);
  });

  it("come before the trouble of cleaning up after them", () => {
    const both = Object.assign(new Error(""), {
      name: "SuppressedError",
      error: new BuildError("SYSCALL", "umount: EBUSY"),
      suppressed: new BuildError("EXEC_FAILED", "it failed"),
    });
    equal(
      renderFailure(both, options),
      "ERROR: failed to build: failed to solve: it failed\nalso, while cleaning up: umount: EBUSY\n",
    );
  });
});

describe("the list of warnings", () => {
  const warning = {
    kind: "warning",
    rule: "FromAsCasing",
    message: "'as' and 'FROM' keywords' casing do not match",
    detail: "The 'as' keyword should match the case of the 'from' keyword",
    url: "https://example.com/rule",
    at: [at(1, 1, 1, 10)],
  } as const;
  const options = { sources: new Map([["Dockerfile", SOURCE]]), colours: null, debug: false };

  it("has one line for each", () => {
    equal(
      renderWarnings([warning, warning], options),
      `
 2 warnings found (use --debug to expand):
 - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
 - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)
`,
    );
  });

  it("explains itself with --debug", () => {
    const out = renderWarnings([warning], { ...options, debug: true });
    match(out, /^\n 1 warning found:\n/);
    ok(out.includes("More info: https://example.com/rule\nDockerfile:1\n"));
  });
});
