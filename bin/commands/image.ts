// tsbuild image: its commands, each in a file of its own.

import { BuildError } from "../../solver/graph/error.ts";
import { nearest } from "../../solver/graph/nearest.ts";
import type { Command } from "../command.ts";
import { IMAGE_COMMANDS } from "../image-commands.ts";

/** The command that only names others. */
export function groupCommand(group: string): Command {
  return {
    flags: {
      usage: "COMMAND",
      positionals: { min: 0, max: null },
      stopsAtPositional: true,
      flags: [],
    },
    async run({ positionals: [name] }, { print }) {
      const own = IMAGE_COMMANDS.filter((command) => command.name.startsWith(`${group} `));
      const words = own.map((command) => command.name.slice(group.length + 1));
      if (name !== undefined) {
        const near = nearest(name, words);
        throw new BuildError("USAGE", `unknown command: tsbuild ${group} ${name}`, {
          hint: near === null ? `see 'tsbuild ${group}'` : `did you mean 'tsbuild ${group} ${near}'?`,
        });
      }
      const width = Math.max(...words.map((word) => word.length)) + 3;
      const lines = own.map((command, at) => `  ${(words[at] ?? "").padEnd(width)}${command.summary}`);
      const also =
        group === "image"
          ? ["", "As docker has them: ls, pull, push, tag, rm, inspect, history, save, load, import"]
          : [];
      print(`Usage:  tsbuild ${group} COMMAND\n\nCommands:\n${[...lines, ...also].join("\n")}\n`);
      return 0;
    },
  };
}

export const command: Command = groupCommand("image");
