// tsbuild image ls-remote: the tags of a repository.

import { humanSize, renderTable } from "../../format.ts";
import { renderFormat } from "../../format-template.ts";
import { IMAGE_FLAGS, repositoryOf, withImages } from "../../image-command.ts";
import { cleanText } from "../../log-text.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] REPOSITORY",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      {
        name: "all",
        short: "a",
        kind: "bool",
        help: "Also tags that hold signatures and lists of referrers",
      },
      { name: "digests", kind: "bool", help: "Show what each tag stands for" },
      { name: "format", kind: "string", help: 'Format output: "table", "json" or a Go template' },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const repository = await repositoryOf(text);
    const format = flags.one("format") ?? "";
    const withDigests = flags.bool("digests") || /Digest|MediaType|Size|^json$/.test(format);
    const tags = await withImages(`listing ${text}`, flags, context, (tools) =>
      tools.tags(repository, { withDigests, withAttached: flags.bool("all") }),
    );
    if (tags === null) return 1;
    const rows = tags.map(({ tag, descriptor }) => ({
      Tag: cleanText(tag),
      Digest: descriptor?.digest ?? "<none>",
      MediaType: cleanText(descriptor?.mediaType ?? "<none>"),
      Size: descriptor === null ? "<none>" : humanSize(descriptor.size),
    }));
    if (format !== "" && format !== "table") context.print(renderFormat(format, rows));
    else if (!withDigests) context.print(rows.map(({ Tag }) => `${Tag}\n`).join(""));
    else
      context.print(
        renderTable(
          [
            { title: "TAG", of: (row) => row.Tag },
            { title: "DIGEST", of: (row) => row.Digest },
            { title: "MEDIA TYPE", of: (row) => row.MediaType },
          ],
          rows,
        ),
      );
    return 0;
  },
};
