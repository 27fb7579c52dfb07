// tsbuild image copy: an image from one place to another, with its digests.

import { humanSize } from "../../format.ts";
import {
  addressOf,
  IMAGE_FLAGS,
  platformFlag,
  platformsOf,
  targetOf,
  withImages,
} from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] SOURCE DESTINATION",
    positionals: { min: 2, max: 2 },
    flags: [
      ...IMAGE_FLAGS,
      platformFlag("Copy this platform alone; several: an index of these (default: all)"),
      {
        name: "referrers",
        kind: "bool",
        help: "Copy signatures and other artifacts about the image, too (OCI referrers, tags of cosign)",
      },
      { name: "quiet", short: "q", kind: "bool", help: "Print nothing but the digest" },
    ],
  },
  async run(flags, context) {
    const [source = "", destination = ""] = flags.positionals;
    const [from, to, platforms] = await Promise.all([
      addressOf(source, context),
      targetOf(destination, context),
      platformsOf(flags),
    ]);
    const done = await withImages(`copying ${source} to ${destination}`, flags, context, (tools) =>
      tools.copy(from, to, { platforms, withReferrers: flags.bool("referrers") }),
    );
    if (done === null) return 1;
    const { descriptor, existing, mounted, moved, movedBytes, referrers } = done;
    const isArchiveOut = to.kind === "archive" && to.path === null;
    if (!flags.bool("quiet"))
      context.complain(
        `${moved} blobs copied (${humanSize(movedBytes)}), ${mounted} mounted, ${existing} were there${referrers === 0 ? "" : `; ${referrers} artifacts about it`}\n`,
      );
    (isArchiveOut ? context.complain : context.print)(`${descriptor.digest}\n`);
    return 0;
  },
};
