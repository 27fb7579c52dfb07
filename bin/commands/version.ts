// tsbuild version

import type { Command } from "../commands.ts";
import { packageVersion } from "../version.ts";

export const command: Command = {
  flags: { usage: "", flags: [], positionals: { min: 0, max: 0 } },
  async run(_flags, { print }) {
    print(
      `tsbuild version ${packageVersion()}, node ${process.version}, ${process.platform}/${process.arch}\n`,
    );
    return 0;
  },
};
