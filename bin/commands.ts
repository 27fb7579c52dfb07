// The commands: name, one line for the help, and the module. Only the module of the called command is loaded.

import type { CommandEntry } from "./command.ts";
import { IMAGE_COMMANDS } from "./image-commands.ts";

export const COMMANDS: readonly CommandEntry[] = [
  { name: "build", summary: "Build an image from a Dockerfile", load: () => import("./commands/build.ts") },
  {
    name: "update",
    summary: "Resolve the references of a build anew, and show what changes in its lock file",
    load: () => import("./commands/update.ts"),
  },
  { name: "run", summary: "Run a command in an image", load: () => import("./commands/run.ts") },
  {
    name: "images",
    summary: "List images in the local store",
    load: () => import("./commands/images.ts"),
  },
  { name: "pull", summary: "Download an image from a registry", load: () => import("./commands/pull.ts") },
  { name: "push", summary: "Upload an image to a registry", load: () => import("./commands/push.ts") },
  { name: "login", summary: "Log in to a registry", load: () => import("./commands/login.ts") },
  { name: "logout", summary: "Log out from a registry", load: () => import("./commands/logout.ts") },
  {
    name: "load",
    summary: "Load images from an archive or standard input",
    load: () => import("./commands/load.ts"),
  },
  {
    name: "save",
    summary: "Save images to an archive or standard output",
    load: () => import("./commands/save.ts"),
  },
  {
    name: "import",
    summary: "Create an image from the tar of a root file system",
    load: () => import("./commands/import.ts"),
  },
  { name: "tag", summary: "Add a name to an image", load: () => import("./commands/tag.ts") },
  { name: "rmi", summary: "Remove image names", load: () => import("./commands/rmi.ts") },
  {
    name: "inspect",
    summary: "Show detailed information about images, as JSON",
    load: () => import("./commands/inspect.ts"),
  },
  { name: "history", summary: "Show the history of an image", load: () => import("./commands/history.ts") },
  {
    name: "sbom",
    summary: "List the packages in an image (software bill of materials)",
    load: () => import("./commands/sbom.ts"),
  },
  {
    name: "sign",
    summary: "Sign images in registries and OCI layouts",
    load: () => import("./commands/sign.ts"),
  },
  {
    name: "verify-signature",
    summary: "Verify signatures of images and attestations",
    load: () => import("./commands/verify-signature.ts"),
  },
  {
    name: "generate-key-pair",
    summary: "Make a pair of keys for signatures",
    load: () => import("./commands/generate-key-pair.ts"),
  },
  {
    name: "diff",
    summary: "Compare two images, archives or directories, and say why they differ",
    load: () => import("./commands/diff.ts"),
  },
  {
    name: "verify",
    summary: "Build twice in different conditions, or rebuild an image, and compare",
    load: () => import("./commands/verify.ts"),
  },
  {
    name: "explain",
    summary: "Explain why the steps of the last build ran",
    load: () => import("./commands/explain.ts"),
  },
  { name: "du", summary: "Show disk usage of the local store", load: () => import("./commands/du.ts") },
  {
    name: "prune",
    summary: "Remove unused build cache and layers",
    load: () => import("./commands/prune.ts"),
  },
  {
    name: "fsck",
    summary: "Check the local store and repair it",
    load: () => import("./commands/fsck.ts"),
  },
  {
    name: "cache-mounts",
    summary: "List, export, import and clear cache mounts (RUN --mount=type=cache)",
    load: () => import("./commands/cache-mounts.ts"),
  },
  {
    name: "doctor",
    summary: "Check what builds can do on this machine, and how to fix what is missing",
    load: () => import("./commands/doctor.ts"),
  },
  {
    name: "builder",
    summary: "Keep named builders elsewhere: ls, add, rm, use, inspect",
    load: () => import("./commands/builder.ts"),
  },
  {
    name: "image",
    summary: "Copy, inspect, join and change images in registries, layouts and archives",
    load: () => import("./commands/image.ts"),
  },
  {
    name: "imagetools",
    summary: "Create and inspect images in registries, as docker buildx imagetools does",
    load: () => import("./commands/imagetools.ts"),
  },
  { name: "version", summary: "Print the version", load: () => import("./commands/version.ts") },
];

const BUILDER_ACTIONS: readonly string[] = ["ls", "add", "rm", "use", "inspect"];

/** docker's longer ways to say the same: "image ls", "buildx build", "builder prune". */
export function resolveAlias(words: readonly string[]): readonly string[] {
  const [first = "", second = "", ...rest] = words;
  if (first === "b") return ["build", ...words.slice(1)];
  if (first === "buildx" && second.startsWith("--builder")) {
    // Of buildx itself: the command behind it is asked whether there is such a builder.
    const count = second.includes("=") ? 1 : 2;
    const [name = "", ...args] = resolveAlias(["buildx", ...words.slice(1 + count)]);
    return [name, ...words.slice(1, 1 + count), ...args];
  }
  // Of docker's "builder" and of buildx, as far as it is about builders.
  if ((first === "builder" || first === "buildx") && BUILDER_ACTIONS.includes(second))
    return ["builder", second, ...rest];
  const [third = ""] = rest;
  if (first === "buildx" && second === "imagetools") return resolveAlias(words.slice(1));
  const own = `${first} ${first === "image" && second === "cp" ? "copy" : second}`;
  if (IMAGE_COMMANDS.some((command) => command.name === own)) return [own, ...rest];
  if ((first === "image" || first === "imagetools") && second === "help")
    return [`${first} ${third}`, "--help"];
  if (!["image", "buildx", "builder"].includes(first) || second === "" || second.startsWith("-"))
    return words;
  const name =
    second === "ls" || second === "list" ? "images" : second === "rm" || second === "remove" ? "rmi" : second;
  // They say themselves what they have.
  if (first !== "buildx" && !COMMANDS.some((command) => command.name === name)) return words;
  return [name, ...rest];
}
