import { deepEqual, equal } from "node:assert/strict";
import { renderCall } from "../../bin/call-output.ts";
import type { CallAnswer, CallRequest } from "../../bin/engine/request.ts";
import { BuildError, type SourceRange } from "../../solver/graph/error.ts";

const source = { file: "Dockerfile", text: "FROM base as b\nRUN x\n" };
const line = (number: number): SourceRange => ({
  file: "Dockerfile",
  start: { line: number, column: 1 },
  end: { line: number, column: 5 },
});
const range = (number: number) => ({ ranges: [{ start: { line: number }, end: { line: number } }] });
const call = (name: CallRequest["name"], format: CallRequest["format"] = "text"): CallRequest => ({
  name,
  format,
  ignoreStatus: false,
});
const data = Buffer.from(source.text).toString("base64");
const warning = {
  rule: "FromAsCasing",
  description: "The 'as' keyword should match the case of the 'from' keyword",
  url: "https://example.com/r",
  detail: "'as' and 'FROM' keywords' casing do not match",
  at: line(1),
};
const check = (warnings: readonly (typeof warning)[], error: Error | null = null): CallAnswer => ({
  kind: "check",
  result: { warnings, error, source },
});

describe("--call=check", () => {
  it("is content with a clean file", () => {
    deepEqual(renderCall(check([]), call("check")), {
      text: "Check complete, no warnings found.\n",
      exitCode: 0,
      error: null,
    });
  });

  it("prints warnings with their lines, and ends with 1", () => {
    const { text, exitCode } = renderCall(check([warning]), call("check"));
    equal(exitCode, 1);
    equal(
      text,
      `Check complete, 1 warning has been found!

WARNING: FromAsCasing - https://example.com/r
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM base as b
   2 |     RUN x
   3 |${"     "}
--------------------
`,
    );
    equal(renderCall(check([warning]), { ...call("check"), ignoreStatus: true }).exitCode, 0);
  });

  it("has buildx's JSON", () => {
    const error = new BuildError("STAGE_UNKNOWN", "no such stage", { at: line(2) });
    const { text, exitCode } = renderCall(check([warning], error), call("check", "json"));
    equal(exitCode, 1);
    deepEqual(JSON.parse(text), {
      warnings: [
        {
          ruleName: "FromAsCasing",
          description: warning.description,
          url: warning.url,
          detail: warning.detail,
          location: range(1),
        },
      ],
      sources: [{ filename: "Dockerfile", data, language: "Dockerfile" }],
      buildError: { message: "no such stage", location: range(2) },
    });
    const placeless = renderCall(check([], new BuildError("USAGE", "no")), call("check", "json"));
    deepEqual(JSON.parse(placeless.text).buildError, { message: "no", location: {} });
  });
});

describe("--call=outline", () => {
  const answer: CallAnswer = {
    kind: "outline",
    source,
    outline: {
      name: "app",
      description: "",
      args: [{ name: "VERSION", value: "1.0", description: "what to build", at: line(1) }],
      secrets: [{ name: "token", required: true, at: line(2) }],
      ssh: [],
    },
  };

  it("prints tables", () => {
    equal(
      renderCall(answer, call("outline")).text,
      `TARGET: app

BUILD ARG   VALUE   DESCRIPTION
VERSION     1.0     what to build

SECRET   REQUIRED
token    true

`,
    );
  });

  it("leaves empty fields out of the JSON", () => {
    deepEqual(JSON.parse(renderCall(answer, call("outline", "json")).text), {
      name: "app",
      args: [{ name: "VERSION", description: "what to build", value: "1.0", location: range(1) }],
      secrets: [{ name: "token", required: true, location: range(2) }],
      sources: [data],
    });
  });
});

describe("--call=targets", () => {
  const answer: CallAnswer = {
    kind: "targets",
    source,
    targets: [
      { name: "build", description: "makes it", default: false, base: "base", platform: "", at: line(1) },
      { name: "", description: "", default: true, base: "build", platform: "", at: line(2) },
    ],
  };

  it("prints a table with the default", () => {
    equal(
      renderCall(answer, call("targets")).text,
      "TARGET    DESCRIPTION\nbuild     makes it\n(default) \n",
    );
  });

  it("has buildx's JSON", () => {
    deepEqual(JSON.parse(renderCall(answer, call("targets", "json")).text), {
      targets: [
        { name: "build", description: "makes it", base: "base", location: range(1) },
        { default: true, base: "build", location: range(2) },
      ],
      sources: [data],
    });
  });
});
