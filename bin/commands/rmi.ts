// tsbuild rmi: removes image names. Their content is removed by the next prune.

import { BuildError } from "../../solver/graph/error.ts";
import { withStore } from "../local-store.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    positionals: { min: 1, max: null },
    flags: [
      {
        name: "force",
        short: "f",
        kind: "bool",
        help: "Remove all names of an ID; ignore images that do not exist",
      },
    ],
  },
  async run(flags, { config, print, complain }) {
    const { findImage, namesOf, normalizeName } = await import("../engine/local-images.ts");
    const { IMAGE_SPACE, isNameless, namelessKey } = await import("../../cache/image-record.ts");
    const { familiarReference, parseReference } = await import("../../cache/registry/reference.ts");
    const force = flags.bool("force");
    return withStore(config, (store) => {
      let failed = false;
      for (const text of flags.positionals) {
        try {
          const image = findImage(store, text);
          const { record } = image;
          const digits = /^(?:sha256:)?([a-f0-9]{4,64})$/.exec(text)?.[1];
          const isName = digits === undefined || (digits.length < 64 && normalizeName(text) === record.name);
          const names = isName ? [record.name] : namesOf(store, image).map(({ name }) => name);
          if (names.length > 1 && !force) {
            throw new BuildError("IMAGE_UNKNOWN", `unable to remove ${text}: it has several names`, {
              hint: `use one of them, or --force: ${names.join(", ")}`,
            });
          }
          // An image that was loaded without a name goes with its last one.
          const isLast = namesOf(store, image).every(({ name }) => names.includes(name));
          const keys = isLast ? [...new Set([...names, namelessKey(image.id)])] : names;
          store.records.batch(keys.map((key) => ({ space: IMAGE_SPACE, key, value: null })));
          for (const name of names) {
            print(
              isNameless(name)
                ? `Deleted: ${name}\n`
                : `Untagged: ${familiarReference(parseReference(name))}\n`,
            );
          }
        } catch (error) {
          if (!(error instanceof BuildError)) throw error;
          if (force && error.code === "IMAGE_UNKNOWN" && error.message.startsWith("No such image")) continue;
          complain(`ERROR: ${error.message}\n${error.hint === null ? "" : `hint: ${error.hint}\n`}`);
          failed = true;
        }
      }
      return failed ? 1 : 0;
    });
  },
};
