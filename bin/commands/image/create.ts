// tsbuild image create: an index of images from anywhere.

import { CREATE_FLAGS, createImage } from "../../imagetools-create.ts";
import { addressOf, IMAGE_FLAGS, targetOf } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [SOURCE...]",
    positionals: { min: 0, max: null },
    flags: [...IMAGE_FLAGS, ...CREATE_FLAGS],
  },
  run: (flags, context) => createImage(flags, context, { source: addressOf, target: targetOf }),
};
