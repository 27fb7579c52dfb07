// tsbuild load: loads images of an archive into the local store.

import { progressFlag } from "../flags-common.ts";
import { progressMode } from "../progress.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [NAME[:TAG]]",
    positionals: { min: 0, max: 1 },
    flags: [
      {
        name: "input",
        short: "i",
        kind: "string",
        value: "file",
        help: "Archive or layout (default: standard input)",
      },
      progressFlag("auto"),
      {
        name: "quiet",
        short: "q",
        kind: "bool",
        help: "Print only names, or IDs of images without a name",
      },
    ],
  },
  async run(flags, context) {
    const { archiveSource, archiveStep } = await import("../archive-command.ts");
    const { normalizeNewName } = await import("../engine/local-images.ts");
    const [given] = flags.positionals;
    const name = given === undefined ? null : normalizeNewName(given);
    const source = archiveSource(flags.one("input") ?? "-", context.cwd, "load");
    const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), context.config.env);
    const loaded = await archiveStep(mode, context, async (store, options) => {
      const { loadArchive } = await import("../engine/archives.ts");
      return await loadArchive(store, source, name, options);
    });
    if (loaded === null) return 1;
    const { familiarReference, parseReference } = await import("../../cache/registry/reference.ts");
    for (const one of loaded) {
      const [title, shown] =
        "id" in one
          ? ["Loaded image ID", one.id]
          : ["Loaded image", familiarReference(parseReference(one.name))];
      context.print(flags.bool("quiet") ? `${shown}\n` : `${title}: ${shown}\n`);
    }
    return 0;
  },
};
