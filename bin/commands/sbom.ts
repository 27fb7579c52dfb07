// tsbuild sbom: the packages in an image of the local store, as a table or a document.

import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { FoundPackage } from "../../worker/sbom/contract.ts";
import type { ImageScan } from "../engine/request.ts";
import { OUTPUT_FILE_FLAG, progressFlag } from "../flags-common.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { renderTable } from "../format.ts";
import { cleanText } from "../log-text.ts";
import { progressMode } from "../progress.ts";
import { transfer } from "../transfer.ts";
import type { Command } from "../command.ts";

const FORMATS = ["table", "spdx-json", "cyclonedx-json"] as const;
type Format = (typeof FORMATS)[number];

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      ...REGISTRY_FLAGS,
      {
        name: "format",
        kind: "string",
        initial: '"table"',
        help: `Format of the output (${FORMATS.map((format) => `"${format}"`).join(", ")})`,
      },
      OUTPUT_FILE_FLAG,
      { name: "platform", kind: "string", help: "Platform of the image, if there are several" },
      progressFlag("auto"),
    ],
  },
  async run(flags, context) {
    const format = formatOf(flags.one("format"));
    const [reference = ""] = flags.positionals;
    const { parsePlatform } = await import("../flags-values.ts");
    const asked = flags.one("platform");
    const platform = asked === null ? null : parsePlatform(asked);
    const mode = progressMode(flags.one("progress") ?? "auto", context.config.env);
    const found = await transfer("Scanning", mode, context, (engine, options) =>
      engine.scan(reference, platform, options),
    );
    if (found === null) return 1;
    const text = format === "table" ? tableOf(found) : await documentOf(format, found);
    const path = flags.one("output") ?? "-";
    if (path === "-" || path === "") context.print(text);
    else {
      const { writeResultFile } = await import("../../exporters/file-output.ts");
      await writeResultFile(resolve(context.cwd, path), text, context.signal);
    }
    for (const { path: file, reason } of found.scan.unread)
      context.complain(`WARNING: not read: ${cleanText(file)}: ${cleanText(reason)}\n`);
    return 0;
  },
};

function formatOf(text: string | null): Format {
  const format = FORMATS.find((name) => name === (text ?? "table"));
  if (format !== undefined) return format;
  throw new BuildError("USAGE", `--format: ${JSON.stringify(text)} is not a format of this command`, {
    hint: `one of ${FORMATS.join(", ")}`,
  });
}

async function documentOf(format: Exclude<Format, "table">, { scan, inputs }: ImageScan): Promise<string> {
  const [{ documentText }, { packageVersion }] = await Promise.all([
    import("../../worker/sbom/documents.ts"),
    import("../version.ts"),
  ]);
  return documentText(format, scan, { ...inputs, toolVersion: packageVersion(), namespace: null });
}

/** Layers are counted from 1, as in the history of an image without its empty entries. */
function tableOf({ scan }: ImageScan): string {
  const layer = ({ locations }: FoundPackage): string => {
    const layers = new Set(locations.flatMap((one) => (one.layer === null ? [] : [one.layer + 1])));
    return [...layers].sort((a, b) => a - b).join(",") || "-";
  };
  return renderTable(
    [
      { title: "NAME", of: ({ name }) => cleanText(name) },
      { title: "VERSION", of: ({ version }) => cleanText(version ?? "-") },
      { title: "TYPE", of: ({ type }) => type },
      { title: "LAYER", of: layer },
      { title: "LICENSES", of: ({ licenses }) => cleanText(licenses.join(", ") || "-") },
    ],
    scan.packages,
  );
}
