// tsbuild import: creates an image of one layer from the tar of a root file system.

import { redactUrl } from "../../solver/graph/error.ts";
import { openLocalSession } from "../local-session.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    positionals: { min: 1, max: 2 },
    flags: [
      {
        name: "change",
        short: "c",
        kind: "list",
        value: "instruction",
        help: 'Apply a Dockerfile instruction to the image (e.g., "CMD [\\"/bin/sh\\"]", "ENV A=b")',
      },
      { name: "message", short: "m", kind: "string", help: "Commit message for the image's history" },
      { name: "platform", kind: "string", help: "Platform of the image (default: this machine's)" },
    ],
  },
  async run(flags, context) {
    const { archiveSource, archiveStep } = await import("../archive-command.ts");
    const { normalizeNewName } = await import("../engine/local-images.ts");
    const { parsePlatform } = await import("../flags-values.ts");
    const { hostPlatform } = await import("../../solver/graph/platform.ts");
    const { config, cwd, signal } = context;
    const [file = "", text] = flags.positionals;
    const name = text === undefined ? null : normalizeNewName(text);
    const asked = flags.one("platform");
    const platform = asked === null ? hostPlatform() : parsePlatform(asked);
    const changes = flags.all("change");
    const applied =
      changes.length === 0
        ? {}
        : (await import("../../frontend/changes.ts")).configOfChanges(changes, platform);
    // docker decides by this prefix, too.
    const source = /^https?:\/\//.test(file)
      ? {
          kind: "remote" as const,
          url: file,
          transport: async () =>
            await (await import("../engine/registry-client.ts")).openUserTransport(config.env),
          session: openLocalSession(config, { directories: new Map(), secrets: [], ssh: [], signal }),
        }
      : archiveSource(file, cwd, "import");
    const message = flags.one("message") ?? `Imported from ${redactUrl(file)}`;
    const id = await archiveStep("quiet", context, async (store, options) => {
      const { importRootfs } = await import("../engine/archives.ts");
      return await importRootfs(store, source, name, { ...options, platform, message, config: applied });
    });
    if (id === null) return 1;
    context.print(`${id}\n`);
    return 0;
  },
};
