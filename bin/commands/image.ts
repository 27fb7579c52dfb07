// tsbuild image: its commands, each in a file of its own.

import { BuildError } from "../../solver/graph/error.ts";
import { nearest } from "../../solver/graph/nearest.ts";
import type { Command } from "../command.ts";
import { IMAGE_COMMANDS } from "../image-commands.ts";

/** Commands of skopeo, crane and regctl, with those that do the same here. */
const OF_OTHER_TOOLS: readonly (readonly [string, string])[] = [
  ["delete", "rm-remote"],
  ["list-tags", "ls-remote"],
  ["manifest", "inspect --raw"],
  ["mutate", "annotate"],
];

/** The command that only names others. */
export function groupCommand(group: string, also: readonly string[]): Command {
  const own = IMAGE_COMMANDS.filter((command) => command.name.startsWith(`${group} `));
  const words = own.map((command) => command.name.slice(group.length + 1));
  const width = Math.max(...words.map((word) => word.length)) + 3;
  const details = [
    "Commands:",
    ...own.map((command, at) => `  ${(words[at] ?? "").padEnd(width)}${command.summary}`),
    ...(also.length === 0 ? [] : ["", `As docker has them: ${also.join(", ")}`]),
  ];
  return {
    flags: {
      usage: "COMMAND",
      details,
      positionals: { min: 0, max: null },
      stopsAtPositional: true,
      flags: [],
    },
    async run({ positionals: [name] }, { print }) {
      if (name !== undefined) {
        const renamed = new Map(OF_OTHER_TOOLS).get(name);
        const near = nearest(name, [...words, ...also]);
        throw new BuildError("USAGE", `unknown command: tsbuild ${group} ${name}`, {
          hint:
            renamed !== undefined
              ? `use 'tsbuild image ${renamed}'`
              : near === null
                ? `see 'tsbuild ${group} --help'`
                : `did you mean 'tsbuild ${group} ${near}'?`,
        });
      }
      print([`Usage:  tsbuild ${group} COMMAND`, "", ...details, ""].join("\n"));
      return 0;
    },
  };
}

export const command: Command = groupCommand("image", [
  "ls",
  "pull",
  "push",
  "tag",
  "rm",
  "history",
  "save",
  "load",
  "import",
  "prune",
]);
