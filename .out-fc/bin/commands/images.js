// tsbuild images
import { goTime, humanDuration, humanSize, renderFormat, renderTable } from "../format.js";
import { withStore } from "../local-store.js";
export const command = {
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
        const { listImages } = await import("../local-images.js");
        const images = await withStore(config, (store) => listImages(store, (name, error) => complain(`warning: ${name}: ${error.message}\n`)));
        const rows = await Promise.all(images.map((image) => describe(image, flags.bool("no-trunc"))));
        const [wanted] = flags.positionals;
        const shown = wanted === undefined ? rows : rows.filter((row) => matches(row, wanted));
        const format = flags.one("format");
        if (flags.bool("quiet"))
            print(shown.map((row) => `${row.ID}\n`).join(""));
        else if (format !== null && format !== "" && format !== "table")
            print(renderFormat(format, shown));
        else
            print(renderTable(columns(flags.bool("digests")), shown));
        return 0;
    },
};
/** docker's field names. */
async function describe(image, whole) {
    const { splitName } = await import("../local-images.js");
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
function matches(row, wanted) {
    return row.Repository === wanted || `${row.Repository}:${row.Tag}` === wanted;
}
function columns(digests) {
    return [
        { title: "REPOSITORY", of: (row) => row.Repository },
        { title: "TAG", of: (row) => row.Tag },
        ...(digests ? [{ title: "DIGEST", of: (row) => row.Digest }] : []),
        { title: "IMAGE ID", of: (row) => row.ID },
        { title: "CREATED", of: (row) => row.CreatedSince },
        { title: "SIZE", of: (row) => row.Size },
    ];
}
//# sourceMappingURL=images.js.map