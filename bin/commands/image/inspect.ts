// tsbuild image inspect: as docker has it, and besides an image anywhere, its layers, and its largest files.

import { BuildError } from "../../../solver/graph/error.ts";
import { addressOf, IMAGE_FLAGS, onePlatform, platformFlag, withImages } from "../../image-command.ts";
import type { ParsedFlags } from "../../args.ts";
import type { Command, CommandContext } from "../../command.ts";
import type { ImageAddress, ImageTools } from "../../engine/images/contract.ts";

const FILES_DEFAULT = 20;
const FILES_MAX = 10_000;

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    flags: [
      ...IMAGE_FLAGS,
      {
        name: "files",
        kind: "optional",
        value: "count",
        initial: String(FILES_DEFAULT),
        help: "Show the largest files, and what later layers replaced or deleted",
      },
      { name: "format", short: "f", kind: "string", help: 'Format output: "json" or a Go template' },
      { name: "layers", kind: "bool", help: "Show what each step added" },
      platformFlag("Platform of the image (default: this machine's, or the only one)"),
      { name: "raw", kind: "bool", help: "Show the manifest or index as it is" },
      { name: "type", kind: "string", help: "" },
    ],
  },
  async run(flags, context) {
    const isReport = flags.bool("layers") || flags.has("files");
    if (isReport || flags.bool("raw")) {
      for (const text of flags.positionals) {
        const printed = isReport
          ? await layersText(text, flags, context)
          : await rawText(text, flags, context);
        if (printed === null) return 1;
        context.print(printed);
      }
      return 0;
    }
    const addresses = await Promise.all(flags.positionals.map((text) => addressOf(text, context)));
    // Scripts ask docker in this way whether an image is here.
    if (addresses.every(({ kind }) => kind === "name")) {
      const { command: local } = await import("../inspect.ts");
      return await local.run(flags, context);
    }
    return await inspectAll(addresses, flags, context);
  },
};

async function rawText(
  text: string,
  flags: ParsedFlags,
  context: CommandContext,
): Promise<Uint8Array | null> {
  const [address, platform] = await Promise.all([addressOf(text, context), onePlatform(flags)]);
  return await withImages(`inspecting ${text}`, flags, context, async (tools) => {
    const image = await tools.open(address);
    const node = platform === null ? image.graph : (await image.imageFor(platform)).node;
    return node.bytes ?? new Uint8Array();
  });
}

async function layersText(text: string, flags: ParsedFlags, context: CommandContext): Promise<string | null> {
  const [address, platform] = await Promise.all([addressOf(text, context), onePlatform(flags)]);
  const count = flags.has("files") ? countOf(flags.one("files") ?? "") : 0;
  const report = await withImages(`inspecting ${text}`, flags, context, (tools) =>
    tools.layers(address, platform, count),
  );
  if (report === null) return null;
  const { reportFields, reportText } = await import("../../image-layers-text.ts");
  const format = flags.one("format") ?? "";
  if (format === "") return reportText(report, flags.bool("layers") || count === 0);
  const { renderFormat } = await import("../../format-template.ts");
  return renderFormat(format, [reportFields(report)]);
}

function countOf(text: string): number {
  if (text === "") return FILES_DEFAULT;
  const count = Number(text);
  if (Number.isInteger(count) && count > 0 && count <= FILES_MAX) return count;
  throw new BuildError("USAGE", `invalid argument ${JSON.stringify(text)} for "--files" flag`, {
    hint: `a number from 1 to ${FILES_MAX}`,
  });
}

async function inspectAll(
  addresses: readonly ImageAddress[],
  flags: ParsedFlags,
  context: CommandContext,
): Promise<number> {
  const platform = await onePlatform(flags);
  const { fillTemplate, renderFormat } = await import("../../format-template.ts");
  const found: Record<string, unknown>[] = [];
  for (const address of addresses) {
    const described = await withImages(`inspecting ${address.text}`, flags, context, (tools) =>
      describe(address, tools, platform),
    );
    if (described === null) return 1;
    found.push(...described);
  }
  const format = flags.one("format") ?? "";
  if (format === "") context.print(`${JSON.stringify(found, null, 4)}\n`);
  else if (format === "json") context.print(renderFormat("json", found));
  else for (const fields of found) context.print(`${fillTemplate(format, fields)}\n`);
  return 0;
}

/** One entry for each platform, with docker's fields. */
async function describe(
  address: ImageAddress,
  tools: ImageTools,
  platform: Awaited<ReturnType<typeof onePlatform>>,
): Promise<Record<string, unknown>[]> {
  const image = await tools.open(address);
  const images = platform === null ? await image.images() : [await image.imageFor(platform)];
  const { familiarReference, parseReference } = await import("../../../cache/registry/reference.ts");
  const reference = address.kind === "registry" ? address.reference : null;
  const tagged =
    reference === null || reference.tag === null ? [] : [familiarReference({ ...reference, digest: null })];
  const digested = (digest: string): string[] =>
    reference === null
      ? []
      : [`${familiarReference({ ...parseReference(image.name), tag: null, digest: null })}@${digest}`];
  return images.map(({ manifest, config, node }) => ({
    Id: manifest.config.digest,
    RepoTags: tagged,
    RepoDigests: digested(image.graph.descriptor.digest),
    Created: config.created ?? null,
    Author: config.author ?? "",
    Architecture: config.architecture,
    Variant: config.variant ?? "",
    Os: config.os,
    Config: config.config,
    Size: manifest.layers.reduce((sum, { size }) => sum + size, 0),
    RootFS: { Type: "layers", Layers: config.rootfs?.diff_ids ?? [] },
    Descriptor: node.descriptor,
  }));
}
