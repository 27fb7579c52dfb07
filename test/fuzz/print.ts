// Prints a parsed Dockerfile: canonical layout, no continuations. Parsing the printed text must give the same result.

import type {
  CommandLine,
  Flag,
  Heredoc,
  Instruction,
  KeyValue,
  ParsedDockerfile,
} from "../../frontend/instruction.ts";

/** Text that is read as this file. */
export function printDockerfile(parsed: ParsedDockerfile): string {
  const directives = parsed.directives.filter(({ name }) => name !== "escape");
  return [
    `# escape=${parsed.escape}\n`,
    ...directives.map(({ name, value }) => `# ${name}=${value}\n`),
    "\n", // ends the directives: comments that look like one stay comments
    ...parsed.instructions.map((instruction) => printInstruction(instruction, parsed.escape)),
  ].join("");
}

/** What of a file does not depend on its layout. */
export function meaningOf(parsed: ParsedDockerfile): unknown {
  return {
    escape: parsed.escape,
    directives: parsed.directives
      .filter(({ name }) => name !== "escape")
      .map(({ name, value }) => [name, value]),
    instructions: parsed.instructions.map(({ at: _at, original: _original, flags, ...rest }) => ({
      ...rest,
      flags: flags.map(({ name, value }) => [name, value]),
    })),
  };
}

function printInstruction(instruction: Instruction, escape: string): string {
  const { rest, heredocs } = restOf(instruction);
  const flags = instruction.flags.map(printFlag);
  // A rest that starts like a flag needs a mark in between; a trigger is kept as written, with the mark.
  const needsMark = rest.startsWith("--") && instruction.kind !== "onbuild";
  const head = [instruction.keyword, ...flags, ...(needsMark ? ["--"] : []), rest].join(" ");
  const line = endsLikeContinuation(head, escape) ? `${head}\u00a0` : head;
  const comments = instruction.comments.map((comment) => `# ${comment}\n`);
  return `\n${comments.join("")}${line}\n${heredocs.map(({ raw, name }) => `${raw}${name}\n`).join("")}`;
}

function endsLikeContinuation(line: string, escape: string): boolean {
  const text = line.replace(/[ \t]+$/, "");
  return text.endsWith(escape) && !text.slice(0, -1).endsWith(escape);
}

function printFlag({ name, value }: Flag): string {
  const quoted = (text: string): string => text.replace(/[\s\u0085'"\\]/g, "\\$&");
  return `--${quoted(name)}${value === null ? "" : `=${quoted(value)}`}`;
}

interface Rest {
  readonly rest: string;
  readonly heredocs: readonly Heredoc[];
}

function restOf(instruction: Instruction): Rest {
  const plain = (rest: string): Rest => ({ rest, heredocs: [] });
  switch (instruction.kind) {
    case "from":
      return plain(instruction.as === null ? instruction.image : `${instruction.image} AS ${instruction.as}`);
    case "arg":
      return plain(instruction.args.map(printPair).join(" "));
    case "env":
    case "label":
      return plain(instruction.pairs.map(printPair).join(" "));
    case "workdir":
    case "user":
    case "stopsignal":
    case "maintainer":
      return plain(instruction.value);
    case "volume":
      return plain(JSON.stringify(instruction.values));
    case "expose":
      return plain(instruction.values.join(" "));
    case "copy":
    case "add": {
      const { sources, heredocs, dest } = instruction;
      const marks = heredocs.map(printMark);
      // Without text in them the documents may stand in the JSON form, which holds any word.
      if (heredocs.every(({ raw }) => raw === "")) return plain(JSON.stringify([...sources, ...marks, dest]));
      return { rest: [...sources, ...marks, dest].join(" "), heredocs };
    }
    case "run":
      return instruction.command.form === "exec"
        ? plain(JSON.stringify(instruction.command.args))
        : { rest: instruction.command.text, heredocs: instruction.heredocs };
    case "cmd":
    case "entrypoint":
      return plain(printCommand(instruction.command));
    case "shell":
      return plain(JSON.stringify(instruction.args));
    case "healthcheck":
      return plain(instruction.test === "NONE" ? "NONE" : `CMD ${printCommand(instruction.test)}`);
    case "onbuild":
      return plain(instruction.expression);
  }
}

function printCommand(command: CommandLine): string {
  return command.form === "exec" ? JSON.stringify(command.args) : command.text;
}

function printPair({ key, value, legacy }: KeyValue): string {
  if (value === null) return key;
  return `${key}${legacy ? " " : "="}${value}`;
}

function printMark({ name, fd, chomp, expand }: Heredoc): string {
  const escaped = name.replace(/[^\p{L}\p{Nd}_.]/gu, "\\$&");
  return `${fd === 0 ? "" : fd}<<${chomp ? "-" : ""}${expand ? escaped : `""${escaped}`}`;
}
