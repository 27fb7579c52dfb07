// tsbuild image tree: what an image consists of.

import { addressOf, IMAGE_FLAGS, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      { name: "format", kind: "string", help: 'Format output: "json" or a Go template' },
      { name: "no-trunc", kind: "bool", help: "Show whole digests" },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const address = await addressOf(text, context);
    const format = flags.one("format") ?? "";
    const printed = await withImages(`reading ${text}`, flags, context, async (tools) => {
      const { name, graph } = await tools.open(address);
      const { treeFields, treeText } = await import("../../image-tree.ts");
      if (format === "") return treeText(name, graph, flags.bool("no-trunc"));
      const { renderFormat } = await import("../../format.ts");
      return renderFormat(format, [treeFields(name, graph)]);
    });
    if (printed === null) return 1;
    context.print(printed);
    return 0;
  },
};
