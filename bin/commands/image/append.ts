// tsbuild image append: more layers on top of an image.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { BuildError } from "../../../solver/graph/error.ts";
import { epochMs, IMAGE_FLAGS, platformFlag, transferOf, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] -f FILE|DIR -t NAME IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      {
        name: "file",
        short: "f",
        kind: "list",
        value: "file|dir",
        help: "Tar or directory that becomes a layer",
      },
      platformFlag("Only this platform; several: an index of these (default: all)"),
      { name: "tag", short: "t", kind: "string", help: "Where the new image goes" },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const files = flags.all("file");
    if (files.length === 0)
      throw new BuildError("USAGE", "no layer is given", { hint: "use -f FILE or -f DIR" });
    const tag = flags.one("tag");
    if (tag === null) throw new BuildError("USAGE", "the new image needs a name", { hint: "use -t NAME" });
    const paths = files.map((shown) => {
      const path = resolve(context.cwd, shown);
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined)
        throw new BuildError("CONTEXT_MISSING", `--file: there is no file or directory ${shown}`);
      if (!stats.isFile() && !stats.isDirectory())
        throw new BuildError("CONTEXT_MISSING", `--file: ${shown} is neither a file nor a directory`);
      return { path, shown, isDirectory: stats.isDirectory() };
    });
    const { from, to, platforms } = await transferOf(text, tag, flags, context);
    const createdMs = epochMs(context.config.env) ?? Date.now();
    const done = await withImages(`appending to ${text}`, flags, context, (tools) =>
      tools.append({ from, to, paths, platforms, createdMs }),
    );
    if (done === null) return 1;
    if (done.dropped > 0)
      context.complain(
        `WARNING: attestations left out: ${done.dropped}; they are about the image without the new layers\n`,
      );
    context.print(`${done.descriptor.digest}\n`);
    return 0;
  },
};
