// tsbuild imagetools create: an index of images of registries, with the flags of docker buildx.

import { CREATE_FLAGS, createImage } from "../../imagetools-create.ts";
import { IMAGE_FLAGS, registryAddress, targetOf } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] [SOURCE...]",
    positionals: { min: 0, max: null },
    flags: [...IMAGE_FLAGS, ...CREATE_FLAGS],
  },
  run: (flags, context) => createImage(flags, context, { source: registryAddress, target: targetOf }),
};
