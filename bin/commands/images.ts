// tsbuild images

import { goTime, humanDuration, humanSize, renderTable } from "../format.ts";
import type { LocalImage } from "../engine/local-images.ts";
import { withStore } from "../local-store.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    positionals: { min: 0, max: 1 },
    flags: [
      { name: "all", short: "a", kind: "bool", help: "" }, // there are no intermediate images
      {
        name: "filter",
        short: "f",
        kind: "list",
        help: 'Only show what matches (e.g., "reference=app*", "label=team=x", "until=24h")',
      },
      { name: "digests", kind: "bool", help: "Show digests" },
      {
        name: "format",
        kind: "string",
        help: 'Format output: "table", "table TEMPLATE", "json" or a Go template',
      },
      { name: "no-trunc", kind: "bool", help: "Do not truncate IDs" },
      { name: "quiet", short: "q", kind: "bool", help: "Only show image IDs" },
    ],
  },
  async run(flags, { config, print, complain }) {
    const { listImages } = await import("../engine/local-images.ts");
    const { imageTest, nameTest } = await import("../image-filter.ts");
    const [pattern] = flags.positionals;
    const isNamed = pattern === undefined ? () => true : nameTest(pattern);
    const images = await withStore(config, (store) => {
      const isWanted = imageTest(flags.all("filter"), store, Date.now());
      const all = listImages(store, (name, error) => complain(`warning: ${name}: ${error.message}\n`));
      return all.filter((image) => isNamed(image) && isWanted(image));
    });
    const shown = await Promise.all(images.map((image) => describe(image, flags.bool("no-trunc"))));

    const format = flags.one("format");
    if (flags.bool("quiet")) print(shown.map((row) => `${row.ID}\n`).join(""));
    else if (format !== null && format !== "" && format !== "table")
      print((await import("../format-template.ts")).renderFormat(format, shown));
    else print(renderTable(columns(flags.bool("digests")), shown));
    return 0;
  },
};

type Row = Awaited<ReturnType<typeof describe>>;

/** docker's field names. */
async function describe(image: LocalImage, whole: boolean) {
  const { repoDigestsOf, splitName } = await import("../engine/local-images.ts");
  const { repository, tag } = splitName(image.record.name);
  const { digest } = image.record.target;
  const { createdAtMs: createdOf } = await import("../image-filter.ts");
  const createdAtMs = createdOf(image);
  return {
    Containers: "N/A",
    CreatedAt: goTime(createdAtMs),
    CreatedSince: `${humanDuration(Math.max(0, Date.now() - createdAtMs))} ago`,
    Digest: repoDigestsOf(image.record).includes(`${repository}@${digest}`) ? digest : "<none>",
    ID: whole ? image.id : image.id.slice(7, 19),
    Repository: repository,
    SharedSize: "N/A",
    Size: humanSize(image.sizeBytes),
    Tag: tag ?? "<none>",
    UniqueSize: "N/A",
  };
}

function columns(digests: boolean) {
  return [
    { title: "REPOSITORY", of: (row: Row) => row.Repository },
    { title: "TAG", of: (row: Row) => row.Tag },
    ...(digests ? [{ title: "DIGEST", of: (row: Row) => row.Digest as string }] : []),
    { title: "IMAGE ID", of: (row: Row) => row.ID },
    { title: "CREATED", of: (row: Row) => row.CreatedSince },
    { title: "SIZE", of: (row: Row) => row.Size },
  ];
}
