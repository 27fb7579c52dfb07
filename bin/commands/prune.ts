// tsbuild prune: gives disk space back. What images and running builds use stays.

import { createInterface } from "node:readline/promises";
import { BuildError } from "../../solver/graph/error.ts";
import type { Command } from "../commands.ts";
import { parseSize } from "../flags-values.ts";
import { humanSize, parseDuration, renderTable } from "../format.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "all",
        short: "a",
        kind: "bool",
        help: "Also remove what can be had again at little cost (unpacked layers of images)",
      },
      {
        name: "filter",
        kind: "list",
        help: 'Only remove what matches (e.g., "until=24h", "type=exec.cachemount")',
      },
      { name: "force", short: "f", kind: "bool", help: "Do not ask" },
      {
        name: "keep-storage",
        kind: "string",
        value: "bytes",
        help: "Stop when the store is not larger than this",
      },
    ],
  },
  async run(flags, { config, signal, print, complain }) {
    const keep = flags.one("keep-storage");
    const keepBytes = keep === null ? null : parseSize(keep);
    const { filters, olderThanMs } = splitFilters(flags.all("filter"));
    if (!flags.bool("force") && !(await confirm(flags.bool("all"), signal))) {
      complain("nothing removed\n");
      return 1;
    }
    const { prune } = await import("../../cache/collect.ts");
    const { openEngine } = await import("../engine.ts");
    await using engine = await openEngine(config);
    const outcome = await prune(engine.store, {
      all: flags.bool("all"),
      keepBytes,
      olderThanMs,
      filters,
      measure: (dirs) => engine.measure(dirs),
      signal,
    });
    await engine.removeDirectories(outcome.directories, { signal, emit: () => {} });
    const shown = outcome.removed.filter((entry) => entry.kind !== "record");
    if (shown.length > 0) {
      print(
        renderTable(
          [
            { title: "ID", of: (entry) => entry.id },
            { title: "TYPE", of: (entry) => entry.kind },
            { title: "SIZE", of: (entry) => humanSize(entry.sizeBytes) },
          ],
          shown,
        ),
      );
    }
    print(`Total reclaimed space: ${humanSize(outcome.freedBytes)}\n`);
    return 0;
  },
};

/** "until=24h" is an age; the other filters are the cache's. */
function splitFilters(texts: readonly string[]): { filters: string[]; olderThanMs: number | null } {
  const filters: string[] = [];
  let olderThanMs: number | null = null;
  for (const text of texts.flatMap((value) => value.split(","))) {
    const match = /^(?:until|unused-for)=(.*)$/.exec(text);
    if (match === null) filters.push(text);
    else olderThanMs = parseDuration(match[1] ?? "");
  }
  return { filters, olderThanMs };
}

async function confirm(all: boolean, signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BuildError("USAGE", "prune asks before it removes, and standard input is not a terminal", {
      hint: "use --force",
    });
  }
  const what = all
    ? "everything no image name leads to, and unpacked layers of images"
    : "all cache no image name leads to";
  const ask = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await ask.question(
      `WARNING! This will remove ${what}.\nAre you sure you want to continue? [y/N] `,
      { signal },
    );
    return /^y(?:es)?$/i.test(answer.trim());
  } finally {
    ask.close();
  }
}
