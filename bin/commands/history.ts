// tsbuild history: the steps of an image, newest first.

import type { HistoryEntry } from "../../solver/graph/request.ts";
import { goTime, humanDuration, humanSize, renderTable } from "../format.ts";
import { cleanText } from "../log-text.ts";
import { withStore } from "../local-store.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      {
        name: "format",
        kind: "string",
        help: 'Format output: "table", "table TEMPLATE", "json" or a Go template',
      },
      {
        name: "human",
        short: "H",
        kind: "bool",
        initial: "true",
        help: "Print sizes and dates in human readable format",
      },
      { name: "no-trunc", kind: "bool", help: "Do not truncate output" },
      { name: "platform", kind: "string", help: "Platform of the image, if there are several" },
      { name: "quiet", short: "q", kind: "bool", help: "Only show image IDs" },
    ],
  },
  async run(flags, { config, print }) {
    const [text = ""] = flags.positionals;
    const { findImage, platformAbsent, platformOf } = await import("../engine/local-images.ts");
    const { parsePlatform } = await import("../flags-values.ts");
    const { hostPlatform } = await import("../../solver/graph/platform.ts");
    const { formatPlatform } = await import("../../solver/graph/op.ts");
    const image = await withStore(config, (store) => findImage(store, text));
    const asked = flags.one("platform");
    const wanted = formatPlatform(asked === null ? hostPlatform() : parsePlatform(asked));
    const manifest =
      image.manifests.find((candidate) => platformOf(candidate.config) === wanted) ??
      (asked === null ? image.manifests[0] : undefined);
    if (manifest === undefined) {
      throw platformAbsent(
        text,
        wanted,
        image.manifests.map(({ config }) => platformOf(config)),
      );
    }

    const whole = flags.bool("no-trunc");
    const human = !flags.has("human") || flags.bool("human");
    const sizes = manifest.layers.map(({ size }) => size);
    let layer = 0;
    const rows = (manifest.config.history ?? [])
      .map((entry) => describe(entry, entry.empty_layer ? 0 : (sizes[layer++] ?? 0), { whole, human }))
      .toReversed();
    const [newest] = rows;
    if (newest !== undefined) newest.ID = whole ? image.id : image.id.slice(7, 19);

    const format = flags.one("format");
    if (flags.bool("quiet")) print(rows.map((row) => `${row.ID}\n`).join(""));
    else if (format !== null && format !== "" && format !== "table")
      print((await import("../format-template.ts")).renderFormat(format, rows));
    else {
      print(
        renderTable(
          [
            { title: "IMAGE", of: (row) => row.ID },
            { title: "CREATED", of: (row) => (human ? row.CreatedSince : row.CreatedAt) },
            { title: "CREATED BY", of: (row) => row.CreatedBy },
            { title: "SIZE", of: (row) => row.Size },
            { title: "COMMENT", of: (row) => row.Comment },
          ],
          rows,
        ),
      );
    }
    return 0;
  },
};

/** Longest text of a column that is not asked for whole, as in docker. */
const CREATED_BY_MAX = 45;

function describe(entry: HistoryEntry, size: number, options: { whole: boolean; human: boolean }) {
  const createdMs = Date.parse(entry.created ?? "");
  const known = Number.isFinite(createdMs);
  const createdBy = cleanText(entry.created_by ?? "").replace(/\s+/g, " ");
  return {
    ID: "<missing>",
    CreatedAt: known ? goTime(createdMs) : "N/A",
    CreatedSince: known ? `${humanDuration(Math.max(0, Date.now() - createdMs))} ago` : "N/A",
    CreatedBy:
      !options.whole && createdBy.length > CREATED_BY_MAX
        ? `${createdBy.slice(0, CREATED_BY_MAX - 1)}…`
        : createdBy,
    Size: options.human ? humanSize(size) : String(size),
    Comment: cleanText(entry.comment ?? "").replace(/\s+/g, " "),
  };
}
