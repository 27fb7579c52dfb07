// tsbuild du: disk usage of the local store: a summary like "docker system df", then the format of "docker buildx du".

import { openLocalEngine } from "../local-store.ts";
import { goTime, humanSize, renderTable } from "../format.ts";
import { cleanText } from "../log-text.ts";
import { lastUsed, usageColumns, usageSummary } from "../usage-text.ts";
import type { UsageEntry } from "../../cache/usage-entry.ts";
import type { Command } from "../command.ts";

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
      { name: "no-trunc", kind: "bool", help: "Do not truncate IDs and descriptions" },
    ],
  },
  async run(flags, { config, print, signal }) {
    const { usage } = await import("../../cache/collect.ts");
    const { parseFilters } = await import("../../cache/prune-filter.ts");
    const filters = flags.all("filter");
    const isWanted = filters.length === 0 ? () => true : await parseFilters(filters);
    await using engine = await openLocalEngine(config, { signal, tidying: true });
    const entries = (await usage(engine.store, (dirs) => engine.measure(dirs))).filter(isWanted);
    // of equal use the largest first: what is to be examined is on top
    const sorted = entries.toSorted((a, b) => b.lastUsedMs - a.lastUsedMs || b.sizeBytes - a.sizeBytes);
    const nowMs = Date.now();

    const format = flags.one("format");
    if (format !== null && format !== "" && format !== "table") {
      const rows = sorted.map((entry) => describe(entry, nowMs));
      print((await import("../format-template.ts")).renderFormat(format, rows));
      return 0;
    }
    print(`${usageSummary(entries)}\n`);
    if (config.verbose) print(sorted.map((entry) => block(describe(entry, nowMs))).join(""));
    else {
      const columns = usageColumns({ whole: flags.bool("no-trunc"), nowMs });
      const { id, type, reclaimable, size, lastUsed: used, image, description } = columns;
      print(
        renderTable(
          [id, type, reclaimable, size, used, image, description],
          sorted.filter(({ kind }) => kind !== "record"), // thousands of a few bytes; counted above
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

function describe(entry: UsageEntry, nowMs: number) {
  return {
    ID: entry.id,
    Type: entry.kind,
    Reclaimable: entry.reclaimable,
    InUse: entry.inUse,
    Shared: entry.shared,
    Size: humanSize(entry.sizeBytes),
    SizeBytes: entry.sizeBytes,
    LastUsedAt: goTime(entry.lastUsedMs),
    LastUsedSince: lastUsed(entry, nowMs),
    Description: cleanText(entry.description),
    Images: entry.images,
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
    ["Images:", row.Images.join(", ")],
  ];
  return `${lines.map(([key, value]) => `${String(key).padEnd(14)}${value}`).join("\n")}\n\n`;
}
