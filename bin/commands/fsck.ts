// tsbuild fsck: checks the store, and repairs it with --repair.

import type { Problem } from "../../cache/check.ts";
import { openLocalEngine } from "../local-store.ts";
import { humanSize } from "../format.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "repair",
        kind: "bool",
        help: "Remove damaged data, so that the next build recreates it",
      },
      { name: "format", kind: "string", initial: '"text"', help: 'Format output: "text" or "json"' },
    ],
  },
  async run(flags, { config, signal, print, complain }) {
    const repair = flags.bool("repair");
    await using engine = await openLocalEngine(config, { repair, signal, tidying: true, onMended: () => {} });
    const onWait = (holder: string): void =>
      complain(`waiting for another prune or fsck of this store: ${holder}\n`);
    const outcome = await engine.check({ repair, signal, onWait });
    if (flags.one("format") === "json") print(`${JSON.stringify(outcome, null, 2)}\n`);
    else {
      for (const problem of outcome.problems) complain(`${line(problem)}\n`);
      print(
        `${outcome.blobs} blobs (${humanSize(outcome.blobBytes)}), ${outcome.layers} layers (${outcome.comparedLayers} compared), ` +
          `${outcome.results} cached steps, ${outcome.images} images: ${verdict(outcome.problems)}\n`,
      );
    }
    return outcome.problems.some(isWrong) ? 1 : 0;
  },
};

function isWrong(problem: Problem): boolean {
  return problem.kind !== "leftover" && !problem.repaired;
}

function line({ kind, id, what, repaired }: Problem): string {
  return `${kind} ${id}: ${what}${repaired ? " (repaired)" : ""}`;
}

function verdict(problems: readonly Problem[]): string {
  const wrong = problems.filter(({ kind }) => kind !== "leftover").length;
  const left = problems.length - wrong;
  const rest = left === 0 ? "" : `, ${left} left over by killed processes`;
  if (wrong === 0) return `no problems found${rest}`;
  const count = wrong === 1 ? "1 problem" : `${wrong} problems`;
  return `${count}${problems.every((one) => one.repaired) ? " repaired" : "; run fsck --repair"}${rest}`;
}
