// tsbuild save: writes images of the local store to one archive, in the format of docker save.

import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { OUTPUT_FILE_FLAG, progressFlag } from "../flags-common.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { progressMode } from "../progress.ts";
import { transfer } from "../transfer.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    flags: [
      ...REGISTRY_FLAGS,
      OUTPUT_FILE_FLAG,
      { name: "platform", kind: "string", help: "Platform of the images (default: all local ones)" },
      progressFlag("quiet"),
    ],
  },
  async run(flags, context) {
    const { parsePlatform } = await import("../flags-values.ts");
    const given = flags.one("output");
    const path = given === null || given === "" || given === "-" ? null : resolve(context.cwd, given);
    if (path === null && process.stdout.isTTY) {
      throw new BuildError("USAGE", "cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    const asked = flags.one("platform");
    const request = {
      images: flags.positionals,
      platform: asked === null ? null : parsePlatform(asked),
      path,
    };
    const mode = progressMode(flags.one("progress") ?? "quiet", context.config.env);
    const done = await transfer("Saving", mode, context, async (engine, options) => {
      await engine.save(request, options);
      return true;
    });
    return done === null ? 1 : 0;
  },
};
