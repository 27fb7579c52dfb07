// tsbuild version

import { packageVersion } from "../version.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: { usage: "", flags: [], positionals: { min: 0, max: 0 } },
  async run(_flags, { print }) {
    print(
      `tsbuild version ${packageVersion()}, node ${process.version}, ${process.platform}/${process.arch}\n`,
    );
    return 0;
  },
};
