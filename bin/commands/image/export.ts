// tsbuild image export: the files of an image as a tar.

import { resolve } from "node:path";
import { BuildError } from "../../../solver/graph/error.ts";
import { OUTPUT_FILE_FLAG } from "../../flags-common.ts";
import { addressOf, IMAGE_FLAGS, onePlatform, platformFlag, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      OUTPUT_FILE_FLAG,
      platformFlag("Platform of the image (default: this machine's, or the only one)"),
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const [address, platform] = await Promise.all([addressOf(text, context), onePlatform(flags)]);
    const given = flags.one("output") ?? "-";
    const path = given === "" || given === "-" ? null : resolve(context.cwd, given);
    if (path === null && process.stdout.isTTY)
      throw new BuildError("USAGE", "cowardly refusing to export to a terminal. Use the -o flag or redirect");
    const done = await withImages(`exporting ${text}`, flags, context, async (tools) => {
      await tools.exportRootfs(address, platform, path);
      return true;
    });
    return done === null ? 1 : 0;
  },
};
