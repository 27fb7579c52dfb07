// The commands of `image` and `imagetools`. What docker has below `image` besides are those of commands.ts: "image ls" is "images".

import type { CommandEntry } from "./command.ts";

export const IMAGE_COMMANDS: readonly CommandEntry[] = [
  {
    name: "image copy",
    summary: "Copy an image between registries, layouts, archives and the local store",
    load: () => import("./commands/image/copy.ts"),
  },
  {
    name: "image create",
    summary: "Join images to an index",
    load: () => import("./commands/image/create.ts"),
  },
  {
    name: "imagetools create",
    summary: "Create an image from images of registries",
    load: () => import("./commands/imagetools/create.ts"),
  },
  {
    name: "imagetools inspect",
    summary: "Show details of an image in a registry",
    load: () => import("./commands/imagetools/inspect.ts"),
  },
];
