// tsbuild image digest: only the digest of what an address stands for.

import { addressOf, IMAGE_FLAGS, onePlatform, platformFlag, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [...IMAGE_FLAGS, platformFlag("Of the manifest of this platform")],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const [address, platform] = await Promise.all([addressOf(text, context), onePlatform(flags)]);
    const found = await withImages(`resolving ${text}`, flags, context, async (tools) => {
      if (platform === null) return (await tools.resolve(address)).digest;
      return (await (await tools.open(address)).imageFor(platform)).node.descriptor.digest;
    });
    if (found === null) return 1;
    context.print(`${found}\n`);
    return 0;
  },
};
