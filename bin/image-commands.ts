// The commands of `image` and `imagetools`. What docker has below `image` besides are those of commands.ts: "image ls" is "images".

import type { CommandEntry } from "./command.ts";

export const IMAGE_COMMANDS: readonly CommandEntry[] = [
  {
    name: "image copy",
    summary: "Copy an image between registries, layouts, archives and the local store",
    load: () => import("./commands/image/copy.ts"),
  },
  {
    name: "image inspect",
    summary: "Show an image anywhere: as docker does, its layers, or its largest files",
    load: () => import("./commands/image/inspect.ts"),
  },
  {
    name: "image tree",
    summary: "Show what an image consists of: index, manifests, configs, layers, attestations",
    load: () => import("./commands/image/tree.ts"),
  },
  {
    name: "image digest",
    summary: "Print the digest of an image",
    load: () => import("./commands/image/digest.ts"),
  },
  {
    name: "image export",
    summary: "Write the files of an image as a tar",
    load: () => import("./commands/image/export.ts"),
  },
  {
    name: "image append",
    summary: "Add layers to an image, from tars or directories",
    load: () => import("./commands/image/append.ts"),
  },
  {
    name: "image annotate",
    summary: "Set annotations of an image",
    load: () => import("./commands/image/annotate.ts"),
  },
  {
    name: "image ls-remote",
    summary: "List the tags of a repository",
    load: () => import("./commands/image/ls-remote.ts"),
  },
  {
    name: "image rm-remote",
    summary: "Remove a tag or a manifest from a registry",
    load: () => import("./commands/image/rm-remote.ts"),
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
