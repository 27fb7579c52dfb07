// tsbuild inspect: images in the format of docker's "image inspect".

import { BuildError } from "../../solver/graph/error.ts";
import { withStore } from "../local-store.ts";
import type { Store } from "../../cache/contract.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    flags: [
      { name: "format", short: "f", kind: "string", help: 'Format output: "json" or a Go template' },
      { name: "type", kind: "string", help: "" },
    ],
  },
  async run(flags, { config, print }) {
    const elsewhere = flags.positionals.find((name) => /^[a-z-]+:\/\//.test(name));
    if (elsewhere !== undefined)
      throw new BuildError("USAGE", `${elsewhere}: inspect shows images of the local store`, {
        hint: `use 'tsbuild image inspect ${elsewhere}'`,
      });
    const found = await withStore(config, async (store) => {
      const described: Record<string, unknown>[] = [];
      for (const name of flags.positionals) described.push(...(await describe(store, name)));
      return described;
    });
    const format = flags.one("format");
    if (!format) {
      print(`${JSON.stringify(found, null, 4)}\n`);
      return 0;
    }
    const { fillTemplate, renderFormat } = await import("../format-template.ts");
    if (format === "json") print(renderFormat("json", found));
    else for (const fields of found) print(`${fillTemplate(format, fields)}\n`);
    return 0;
  },
};

/** One entry for each platform that is here. */
async function describe(store: Store, text: string): Promise<Record<string, unknown>[]> {
  const { findImage, namesOf, repoDigestsOf, splitName } = await import("../engine/local-images.ts");
  const image = findImage(store, text);
  const records = namesOf(store, image);
  const names = records.map(({ name }) => splitName(name));
  const digests = records.flatMap(repoDigestsOf).toSorted();
  return image.manifests.map(({ config, configDescriptor, sizeBytes }) => ({
    Id: configDescriptor.digest,
    RepoTags: names.filter(({ tag }) => tag !== null).map(({ repository, tag }) => `${repository}:${tag}`),
    RepoDigests: [...new Set(digests)], // only what a registry has: nobody finds any other
    Created: config.created ?? null,
    Author: config.author ?? "",
    Architecture: config.architecture,
    Variant: config.variant ?? "",
    Os: config.os,
    Config: config.config,
    Size: sizeBytes,
    RootFS: { Type: "layers", Layers: config.rootfs?.diff_ids ?? [] },
    ...(image.record.confirmed === undefined ? {} : { Descriptor: image.record.target }),
  }));
}
