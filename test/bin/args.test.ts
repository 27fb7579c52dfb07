import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { type CommandSpec, commandHelp, parseFlags } from "../../bin/args.ts";
import { nearest } from "../../solver/graph/nearest.ts";
import { BUILD_FLAGS } from "../../bin/flags-build.ts";
import { RUN_FLAGS } from "../../bin/flags-run.ts";
import type { BuildError } from "../../solver/graph/error.ts";

const BUILD: CommandSpec = { ...BUILD_FLAGS, name: "build", summary: "Build an image from a Dockerfile" };
const RUN: CommandSpec = { ...RUN_FLAGS, name: "run", summary: "Run" };

/** Options of `docker buildx build --help` (0.21), but for --builder, which has no meaning here, and -D, --debug, which is global. */
const BUILDX_BUILD = [
  "--add-host strings",
  "--allow stringArray",
  "--annotation stringArray",
  "--attest stringArray",
  "--build-arg stringArray",
  "--build-context stringArray",
  "--cache-from stringArray",
  "--cache-to stringArray",
  "--call string",
  "--cgroup-parent string",
  "--check",
  "-f, --file string",
  "--iidfile string",
  "--label stringArray",
  "--load",
  "--metadata-file string",
  "--network string",
  "--no-cache",
  "--no-cache-filter stringArray",
  "-o, --output stringArray",
  "--platform stringArray",
  "--progress string",
  "--provenance string",
  "--pull",
  "--push",
  "-q, --quiet",
  "--sbom string",
  "--secret stringArray",
  "--shm-size bytes",
  "--ssh stringArray",
  "-t, --tag stringArray",
  "--target string",
  "--ulimit ulimit",
];

describe("command line", () => {
  const forms: readonly (readonly [string, readonly string[], string, readonly string[]])[] = [
    ["--flag=value", ["--tag=a", "."], "tag", ["a"]],
    ["--flag value", ["--tag", "a", "."], "tag", ["a"]],
    ["-f value", ["-t", "a", "."], "tag", ["a"]],
    ["-fvalue", ["-ta", "."], "tag", ["a"]],
    ["-f=value", ["-t=a", "."], "tag", ["a"]],
    ["a repeated flag in order", ["-t", "a", "--tag", "b", "."], "tag", ["a", "b"]],
    ["a value that is a dash", ["-o", "-", "."], "output", ["-"]],
    ["a value that looks like a flag", ["--build-arg", "--x=1", "."], "build-arg", ["--x=1"]],
    ["a value with equals signs", ["--label", "a=b=c", "."], "label", ["a=b=c"]],
    ["flags behind the path", [".", "--target", "x"], "target", ["x"]],
  ];
  for (const [name, args, flag, values] of forms) {
    it(`takes ${name}`, () => {
      const flags = parseFlags(BUILD, args);
      deepEqual(flags.all(flag), values);
      deepEqual(flags.positionals, ["."]);
    });
  }

  it("takes booleans with and without a value", () => {
    equal(parseFlags(BUILD, ["--push", "."]).bool("push"), true);
    equal(parseFlags(BUILD, ["--push=false", "."]).bool("push"), false);
    equal(parseFlags(BUILD, ["."]).bool("push"), false);
    throws(() => parseFlags(BUILD, ["--push=maybe", "."]), /invalid argument "maybe"/);
  });

  it("says how a value is given where it is optional", () => {
    throws(
      () => parseFlags(BUILD, ["--lock", "my.lock", "."]),
      (error: BuildError) => error.hint === "if my.lock belongs to the flag, write --lock=my.lock",
    );
    throws(
      () => parseFlags(BUILD, ["--lock=my.lock", ".", "."]),
      (error: BuildError) => error.hint === "see 'tsbuild build --help'",
    );
  });

  it("names the nearest flag for an unknown one", () => {
    throws(
      () => parseFlags(BUILD, ["--plattform", "x", "."]),
      (error: BuildError) =>
        error.message === "unknown flag: --plattform" && error.hint === "did you mean --platform?",
    );
    throws(() => parseFlags(BUILD, ["-x", "."]), /unknown shorthand flag: 'x' in -x/);
  });

  it("says what a command needs", () => {
    throws(() => parseFlags(BUILD, []), /'tsbuild build' requires 1 argument/);
    throws(() => parseFlags(BUILD, ["a", "b"]), /requires 1 argument/);
    const none = { ...BUILD, positionals: { min: 0, max: 0 } };
    throws(() => parseFlags(none, ["a"]), /'tsbuild build' accepts no arguments/);
    throws(() => parseFlags(BUILD, [".", "--tag"]), /flag needs an argument: --tag/);
    throws(
      () => parseFlags(RUN, []),
      (error: BuildError) => error.exitCode === 125,
    );
  });

  it("leaves everything behind the image of run to its command", () => {
    const flags = parseFlags(RUN, ["-it", "-e", "A=1", "alpine", "ls", "-e", "--unknown"]);
    deepEqual(flags.positionals, ["alpine", "ls", "-e", "--unknown"]);
    deepEqual(flags.all("env"), ["A=1"]);
    ok(flags.bool("tty") && flags.bool("interactive"));
  });

  it("has -h for the host name of run and for the help elsewhere", () => {
    equal(parseFlags(RUN, ["-h", "box", "alpine"]).one("hostname"), "box");
    equal(parseFlags(BUILD, ["-h"]).bool("help"), true);
  });

  it("lists every flag of buildx build in the help, with its kind of value", () => {
    const help = commandHelp(BUILD);
    const listed = help
      .split("\n")
      .flatMap((line) => /^ {2}(-\w, | {4})(--\S+( \S+)?) {2,}\S/.exec(line)?.slice(1, 3).join("") ?? [])
      .map((flag) => flag.trim());
    const missing = BUILDX_BUILD.filter((flag) => !listed.includes(flag));
    deepEqual(missing, [], `the help has only\n${listed.join("\n")}`);
    ok(help.includes("--builder"));
    ok(help.startsWith("Usage:  tsbuild build [OPTIONS] PATH | URL | -\n"));
    ok(help.split("\n").every((line) => line.length <= 120));
  });

  it("proposes only what is near", () => {
    equal(nearest("bulid", ["build", "push"]), "build");
    equal(nearest("zzz", ["build", "push"]), null);
  });
});
