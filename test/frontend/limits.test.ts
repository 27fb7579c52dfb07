// Hostile input fails within seconds, with its own error (threat model D1). The bounds are generous: the machine
// may be busy.

import assert from "node:assert/strict";
import { convert } from "../../frontend/frontend.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { CALL, hostOf, optionsOf } from "./dockerfile.ts";

const MiB = 1024 * 1024;
const ANSWER_MAX_CPU_MS = 60_000;

const lines = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => `${line(index)}\n`).join("");

/** The error's code, or "" when it was converted; never anything but a BuildError, never too late. */
async function answer(data: string | Uint8Array): Promise<string> {
  const before = process.cpuUsage();
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  try {
    const options = { ...optionsOf(""), dockerfile: { name: "Dockerfile", data: bytes } };
    await convert(options, hostOf(), CALL);
    return "";
  } catch (error) {
    if (error instanceof BuildError) return error.code;
    throw error;
  } finally {
    const { user, system } = process.cpuUsage(before);
    assert.ok((user + system) / 1000 < ANSWER_MAX_CPU_MS, `it took ${(user + system) / 1000} ms of cpu`);
  }
}

const BASE = "FROM base:1\n";
const CASES: readonly (readonly [string, () => string | Uint8Array, string])[] = [
  ["a file of 100 MB", () => Buffer.alloc(100 * MiB, "RUN a\n"), "LIMIT_EXCEEDED"],
  ["a line of 15 MB", () => `${BASE}RUN ${"a".repeat(15 * MiB)}`, "LIMIT_EXCEEDED"],
  ["millions of instructions", () => BASE + "RUN a\n".repeat(2.5 * MiB), "LIMIT_EXCEEDED"],
  ["millions of empty lines", () => BASE + "\n".repeat(15 * MiB), ""],
  ["millions of remarks in a continuation", () => `${BASE}RUN a\\\n${"#\n".repeat(7 * MiB)}`, ""],
  ["millions of continuations", () => `${BASE}RUN ${"a\\\n".repeat(5 * MiB)}`, ""],
  ["here documents that do not end", () => BASE + "RUN <<A <<A <<A\n".repeat(0.9 * MiB), "DOCKERFILE_SYNTAX"],
  ["thousands of stages on each other", () => lines(9000, (i) => `FROM ${i === 0 ? "base:1" : `s${i - 1}`} AS s${i}\nENV A${i}=b`), "LIMIT_EXCEEDED"],
  ["thousands of stages copying from each other", () => lines(9000, (i) => `FROM base:1 AS s${i}\n${i === 0 ? "" : `COPY --from=s${i - 1} / /`}`), ""],
  ["a ladder of variables", () => `${BASE}ENV A=aaaaaaaaaa\n${"ENV A=$A$A\n".repeat(60)}`, "LIMIT_EXCEEDED"],
  ["large environments of many steps", () => BASE + lines(30_000, (i) => `ENV A${i}=b`) + "RUN a\n".repeat(60_000), "LIMIT_EXCEEDED"],
  ["many labels", () => BASE + lines(90_000, (i) => `LABEL a${i}=b`), ""],
  ["all ports, again and again", () => BASE + "EXPOSE 1-65535\n".repeat(5000), "LIMIT_EXCEEDED"],
  ["triggers of triggers", () => `${BASE}${"ONBUILD ".repeat(8000)}RUN a`, "DOCKERFILE_SYNTAX"],
  ["deep substitutions", () => `${BASE}ENV A=${"${A:-".repeat(9000)}${"}".repeat(9000)}`, "LIMIT_EXCEEDED"],
  ["a pattern made to backtrack", () => `${BASE}ARG A=${"a".repeat(60_000)}\nENV B=\${A//${"*a".repeat(30_000)}b/x}\n`, "LIMIT_EXCEEDED"],
  ["lists in lists", () => `${BASE}CMD ${"[".repeat(60_000)}`, ""],
  ["variables in thousands of --from", () => `FROM base:1 AS one\n${BASE}${lines(20_000, (i) => `ARG A${i}=b`)}ARG X=one\n${"COPY --from=$X /a /b\n".repeat(20_000)}`, ""],
  ["thousands of unknown variables", () => BASE + lines(10_000, (i) => `ENV A${i}=b`) + lines(2000, (i) => `WORKDIR /$B${i}`), ""],
  ["mounts by the thousand", () => `${BASE}${`RUN ${"--mount=type=cache,target=/a ".repeat(2000)}x\n`.repeat(30)}`, ""],
]; // biome-ignore format: a table

describe("hostile Dockerfiles", function () {
  this.timeout(180_000); // each is seconds of work; CI machines are shared
  for (const [what, make, code] of CASES) {
    it(`${what}: ${code === "" ? "read in time" : code}`, async () =>
      assert.equal(await answer(make()), code));
  }

  it("10,000 ordinary instructions are parsed and made a graph quickly", async () => {
    const kinds = [
      "RUN echo $A ${C:-x} > /f",
      "COPY --chown=1:2 a b /d/",
      "ENV A=b C=$A",
      "ARG X=1",
      "WORKDIR /a",
      "USER u",
    ];
    const text = BASE + lines(10_000, (i) => `${kinds[i % kinds.length]}`);
    const before = process.cpuUsage();
    assert.equal(await answer(text), "");
    const { user, system } = process.cpuUsage(before);
    assert.ok((user + system) / 1000 < 5000); // a quarter to two fifths of a second when nothing else runs
  });
});
