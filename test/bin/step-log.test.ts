import { deepEqual, equal, ok } from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { renderFailure } from "../../bin/excerpt.ts";
import { endLogs, openProgressState } from "../../bin/progress-state.ts";
import { openStepLog } from "../../bin/step-log.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";

const files = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith("tsbuild-log-"));
const numbered = (count: number): string[] => Array.from({ length: count }, (_, at) => `line ${at + 1}`);

describe("the log of a step nobody has seen yet", () => {
  it("is kept in whole while it is short, without a file", () => {
    const log = openStepLog({ shownMax: 1000 });
    for (const line of numbered(100)) log.add(line);
    deepEqual(log.lines(), numbered(100));
    equal(log.keep(), null);
    deepEqual(files(), []);
  });

  it("goes on in a file of the user's own when it is long, from its first line to its last", () => {
    const log = openStepLog({ shownMax: 1000 });
    for (const line of numbered(100_000)) log.add(line);
    const unseen = log.keep();
    ok(unseen?.file);
    try {
      equal(readFileSync(unseen.file, "utf8"), `${numbered(100_000).join("\n")}\n`);
      equal(statSync(unseen.file).mode & 0o777, 0o600);
      equal(statSync(dirname(unseen.file)).mode & 0o777, 0o700);
      deepEqual([...numbered(100_000).slice(0, unseen.lines), ...log.lines()], numbered(100_000));
      ok(log.lines().join("\n").length <= 1000);
      equal(unseen.isCut, false);
    } finally {
      rmSync(dirname(unseen.file), { recursive: true });
    }
  });

  it("leaves no file when the step ends well", () => {
    const log = openStepLog({ shownMax: 100 });
    for (const line of numbered(100)) log.add(line);
    equal(files().length, 1);
    log.discard();
    log.add("more");
    deepEqual(files(), []);
  });

  it("ends in the file where that has grown too large, and goes on in what is shown", () => {
    const log = openStepLog({ shownMax: 100, fileMax: 500 });
    for (const line of numbered(1000)) log.add(line);
    const unseen = log.keep();
    ok(unseen?.file);
    try {
      equal(statSync(unseen.file).size, 500);
      equal(unseen.isCut, true);
      equal(log.lines().at(-1), "line 1000");
    } finally {
      rmSync(dirname(unseen.file), { recursive: true });
    }
  });

  it("is what is in memory where no file can be written", () => {
    const { TMPDIR } = process.env;
    process.env.TMPDIR = join(tmpdir(), "not-there");
    try {
      const log = openStepLog({ shownMax: 100 });
      for (const line of numbered(100)) log.add(line);
      deepEqual({ ...log.keep(), lines: 0 }, { lines: 0, file: null, isCut: false });
      equal(log.lines().at(-1), "line 100");
    } finally {
      process.env.TMPDIR = TMPDIR;
    }
  });

  it("of a failed step is printed with the way to the rest; those of others go", () => {
    const state = openProgressState("terminal", () => openStepLog({ shownMax: 200 }));
    for (const name of ["failed", "cancelled", "done", "running"]) {
      const vertex = digestOf(name);
      state.apply({ kind: "vertex", vertex, name, inputs: [], at: [] });
      state.apply({ kind: "started", vertex, atMs: 0 });
      const data = new TextEncoder().encode(`${numbered(99).join("\n")}\n\u001b[31mred`);
      state.apply({ kind: "log", vertex, atMs: 1500, fd: 1, data });
    }
    const vertex = digestOf("failed");
    const error = new BuildError("EXEC_FAILED", "exit code: 1", { vertex });
    state.apply({ kind: "failed", vertex, atMs: 2000, error });
    for (const kind of ["cancelled", "done"] as const)
      state.apply({ kind, vertex: digestOf(kind), atMs: 2000 });
    endLogs(state);
    const [left, ...others] = files();
    try {
      deepEqual(others, []);
      const options = { sources: new Map(), state, prefix: "", debug: false };
      const plain = renderFailure(error, { ...options, colours: null }).split("\n");
      deepEqual(plain.slice(0, 2), ["------", " > failed:"]);
      const file = join(tmpdir(), left ?? "", "step.log");
      deepEqual(plain.slice(-6), [
        "1.500 line 99",
        "2.000 red",
        `[the first ${99 - (plain.length - 7)} lines are in ${file}, as all of the log is]`,
        "------",
        "ERROR: exit code: 1",
        "",
      ]);
      equal(readFileSync(file, "utf8").split("\n").length, 101);
      const colours = { run: "34", cancel: "33", error: "31", warning: "33" };
      const coloured = renderFailure(error, { ...options, colours });
      ok(coloured.includes("2.000 \u001b[31mred\u001b[0m\n"), JSON.stringify(coloured));
      ok(existsSync(file));
    } finally {
      rmSync(join(tmpdir(), left ?? "nothing"), { recursive: true, force: true });
    }
  });
});
