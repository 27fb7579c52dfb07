// tsbuild prune: frees disk space. Data used by images and running builds is kept.

import { createInterface } from "node:readline/promises";
import { openLocalEngine } from "../local-store.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { parseSize } from "../flags-values.ts";
import { humanSize, parseDuration, renderTable } from "../format.ts";
import { removedSummary, usageColumns } from "../usage-text.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "all",
        short: "a",
        kind: "bool",
        help: "Also remove what is cheap to recreate, such as unpacked layers of images",
      },
      {
        name: "filter",
        kind: "list",
        help: 'Only remove what matches (e.g., "until=24h", "type=exec.cachemount")',
      },
      { name: "no-trunc", kind: "bool", help: "Do not truncate IDs and descriptions" },
      { name: "force", short: "f", kind: "bool", help: "Do not prompt for confirmation" },
      {
        name: "keep-storage",
        kind: "string",
        value: "bytes",
        help: "Amount of disk space the store may keep",
      },
    ],
  },
  async run(flags, { config, signal, print, complain }) {
    const keep = flags.one("keep-storage");
    const keepBytes = keep === null ? null : parseSize(keep);
    const { filters, olderThanMs } = splitFilters(flags.all("filter"));
    // What is asked of the cache alone leaves images alone.
    const dangling = filters.length === 0 && keepBytes === null;
    if (!flags.bool("force") && !(await confirm(flags.bool("all"), dangling, signal))) {
      complain("nothing was removed\n");
      return 1;
    }
    const { prune } = await import("../../cache/collect.ts");
    await using engine = await openLocalEngine(config, { signal, tidying: true });
    const outcome = await prune(engine.store, {
      all: flags.bool("all"),
      keepBytes,
      olderThanMs,
      filters,
      dangling,
      measure: (dirs) => engine.measure(dirs),
      signal,
      onWait: (holder) => complain(`waiting for another prune or fsck of this store: ${holder}\n`),
    });
    await engine.removeDirectories(outcome.directories, { signal, emit: () => {} });
    const shown = outcome.removed.filter((entry) => entry.kind !== "record");
    print(outcome.removedImages.map((id) => `Deleted: ${id}\n`).join(""));
    print(removedSummary(outcome.removed));
    if (shown.length > 0) {
      const columns = usageColumns({ whole: flags.bool("no-trunc"), nowMs: Date.now() });
      const { id, type, size, lastUsed, description } = columns;
      print(renderTable([id, type, size, lastUsed, description], shown));
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

async function confirm(all: boolean, dangling: boolean, signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BuildError("USAGE", "prune needs a confirmation, and standard input is not a terminal", {
      hint: "use --force",
    });
  }
  const nameless = dangling ? "images without a name and " : "";
  const cache = `${nameless}all build cache not used by any tagged image`;
  const what = all ? `${cache}, and what is cheap to recreate, such as unpacked layers of images` : cache;
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
