// tsbuild images

import type { Command } from "../commands.ts";
import { goTime, humanDuration, humanSize, renderFormat, renderTable } from "../format.ts";
import type { LocalImage } from "../local-images.ts";
import { withStore } from "../local-store.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    positionals: { min: 0, max: 1 },
    flags: [
      { name: "all", short: "a", kind: "bool", help: "" }, // there are no intermediate images
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
    const { listImages } = await import("../local-images.ts");
    const images = await withStore(config, (store) =>
      listImages(store, (name, error) => complain(`warning: ${name}: ${error.message}\n`)),
    );
    const rows = await Promise.all(images.map((image) => describe(image, flags.bool("no-trunc"))));
    const [wanted] = flags.positionals;
    const shown = wanted === undefined ? rows : rows.filter((row) => matches(row, wanted));

    const format = flags.one("format");
    if (flags.bool("quiet")) print(shown.map((row) => `${row.ID}\n`).join(""));
    else if (format !== null && format !== "" && format !== "table") print(renderFormat(format, shown));
    else print(renderTable(columns(flags.bool("digests")), shown));
    return 0;
  },
};

type Row = Awaited<ReturnType<typeof describe>>;

/** docker's field names. */
async function describe(image: LocalImage, whole: boolean) {
  const { splitName } = await import("../local-images.ts");
  const { repository, tag } = splitName(image.record.name);
  const created = image.manifests[0]?.config.created;
  const createdMs = created === undefined ? image.record.createdAtMs : Date.parse(created);
  const createdAtMs = Number.isFinite(createdMs) ? createdMs : image.record.createdAtMs;
  return {
    Containers: "N/A",
    CreatedAt: goTime(createdAtMs),
    CreatedSince: `${humanDuration(Math.max(0, Date.now() - createdAtMs))} ago`,
    Digest: image.record.target.digest,
    ID: whole ? image.id : image.id.slice(7, 19),
    Repository: repository,
    SharedSize: "N/A",
    Size: humanSize(image.sizeBytes),
    Tag: tag ?? "<none>",
    UniqueSize: "N/A",
  };
}

function matches(row: Row, wanted: string): boolean {
  return row.Repository === wanted || `${row.Repository}:${row.Tag}` === wanted;
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
