// tsbuild pull

import { progressFlag } from "../flags-common.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { progressMode } from "../progress.ts";
import { transfer } from "../transfer.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    positionals: { min: 1, max: 1 },
    flags: [
      ...REGISTRY_FLAGS,
      { name: "platform", kind: "string", help: "Platform of the image (default: this machine's)" },
      progressFlag("auto"),
      { name: "quiet", short: "q", kind: "bool", help: "Print only the name" },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const { parsePlatform } = await import("../flags-values.ts");
    const { normalizeName } = await import("../engine/local-images.ts");
    const name = normalizeName(text);
    const asked = flags.one("platform");
    const platform = asked === null ? null : parsePlatform(asked);
    const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
    const done = await transfer("Pulling", mode, context, (engine, options) =>
      engine.pull(name, platform, options),
    );
    if (done === null) return 1;
    if (!flags.bool("quiet")) context.complain(`Digest: ${done.digest}\n`);
    context.print(`${name}\n`);
    return 0;
  },
};
