// tsbuild du: what the local store holds, in the form of "docker buildx du".

import type { UsageEntry } from "../../cache/collect.ts";
import type { Command } from "../commands.ts";
import { goTime, humanDuration, humanSize, renderFormat, renderTable } from "../format.ts";
import { cleanText } from "../log-text.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [
      {
        name: "filter",
        kind: "list",
        help: 'Only show what matches (e.g., "type=exec.cachemount", "inuse=false")',
      },
      {
        name: "format",
        kind: "string",
        help: 'Format output: "table", "table TEMPLATE", "json" or a Go template',
      },
    ],
  },
  async run(flags, { config, print }) {
    const { usage } = await import("../../cache/collect.ts");
    const { parseFilters } = await import("../../cache/prune-filter.ts");
    const filters = flags.all("filter");
    const isWanted = filters.length === 0 ? () => true : parseFilters(filters);
    const { openEngine } = await import("../engine.ts");
    await using engine = await openEngine(config);
    const entries = (await usage(engine.store, (dirs) => engine.measure(dirs))).filter(isWanted);
    // of equal use the largest first: what is to be looked at is on top
    const rows = entries
      .toSorted((a, b) => b.lastUsedMs - a.lastUsedMs || b.sizeBytes - a.sizeBytes)
      .map(describe);

    const format = flags.one("format");
    if (format !== null && format !== "" && format !== "table") {
      print(renderFormat(format, rows));
      return 0;
    }
    if (config.verbose) print(rows.map(block).join(""));
    else {
      print(
        renderTable(
          [
            { title: "ID", of: (row) => row.ID },
            { title: "TYPE", of: (row) => row.Type },
            { title: "RECLAIMABLE", of: (row) => String(row.Reclaimable) },
            { title: "SIZE", of: (row) => row.Size },
            { title: "LAST ACCESSED", of: (row) => row.LastUsedSince },
          ],
          rows.filter((row) => row.Type !== "record"), // thousands of a few bytes; counted below
        ),
      );
    }
    const sum = (of: readonly UsageEntry[]) =>
      humanSize(of.reduce((total, entry) => total + entry.sizeBytes, 0));
    print(`Shared:\t\t${sum(entries.filter((entry) => entry.shared))}\n`);
    print(`Private:\t${sum(entries.filter((entry) => !entry.shared))}\n`);
    print(`Reclaimable:\t${sum(entries.filter((entry) => entry.reclaimable))}\n`);
    print(`Total:\t\t${sum(entries)}\n`);
    return 0;
  },
};

type Row = ReturnType<typeof describe>;

function describe(entry: UsageEntry) {
  return {
    ID: entry.id,
    Type: entry.kind,
    Reclaimable: entry.reclaimable,
    InUse: entry.inUse,
    Shared: entry.shared,
    Size: humanSize(entry.sizeBytes),
    SizeBytes: entry.sizeBytes,
    LastUsedAt: goTime(entry.lastUsedMs),
    LastUsedSince:
      entry.lastUsedMs === 0 ? "" : `${humanDuration(Math.max(0, Date.now() - entry.lastUsedMs))} ago`,
    Description: cleanText(entry.description),
  };
}

function block(row: Row): string {
  const lines = [
    ["ID:", row.ID],
    ["Type:", row.Type],
    ["Reclaimable:", row.Reclaimable],
    ["In use:", row.InUse],
    ["Shared:", row.Shared],
    ["Size:", row.Size],
    ["Last used:", row.LastUsedSince],
    ["Description:", row.Description],
  ];
  return `${lines.map(([key, value]) => `${String(key).padEnd(14)}${value}`).join("\n")}\n\n`;
}
