// tsbuild image rm-remote: removes tags and manifests from registries.

import { BuildError } from "../../../solver/graph/error.ts";
import { IMAGE_FLAGS, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] NAME:TAG|NAME@DIGEST [NAME...]",
    positionals: { min: 1, max: null },
    flags: [
      ...IMAGE_FLAGS,
      {
        name: "force",
        short: "f",
        kind: "bool",
        help: "Where tags cannot be removed alone: remove the manifest with all its tags",
      },
    ],
  },
  async run(flags, context) {
    const { parseReference } = await import("../../../cache/registry/reference.ts");
    const references = flags.positionals.map((text) => {
      const reference = parseReference(text.replace(/^docker:\/\//, ""));
      // Nothing is removed that is not named.
      if (reference.tag === null && reference.digest === null)
        throw new BuildError("USAGE", `${text}: name the tag or the digest that is to be removed`);
      return reference;
    });
    for (const [at, reference] of references.entries()) {
      const text = flags.positionals[at] ?? "";
      const removed = await withImages(`removing ${text}`, flags, context, (tools) =>
        tools.removeRemote(reference, { withOtherTags: flags.bool("force") }),
      );
      if (removed === null) return 1;
      context.print(`Deleted: ${removed}\n`);
    }
    return 0;
  },
};
