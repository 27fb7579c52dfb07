// tsbuild image annotate: annotations of an index, of manifests, and of entries of an index.

import { BuildError } from "../../../solver/graph/error.ts";
import { addressOf, IMAGE_FLAGS, targetOf, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] --annotation [TARGET:]KEY=VALUE IMAGE",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      {
        name: "annotation",
        kind: "list",
        help: "Of TARGET index, manifest[PLATFORM] (default) or manifest-descriptor[PLATFORM]",
      },
      { name: "tag", short: "t", kind: "string", help: "Where the new image goes (default: the same place)" },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const { parseAnnotationFlag } = await import("../../../exporters/annotations.ts");
    const annotations = flags.all("annotation").flatMap((one) => parseAnnotationFlag(one));
    if (annotations.length === 0)
      throw new BuildError("USAGE", "no annotation is given", { hint: "use --annotation index:KEY=VALUE" });
    const tag = flags.one("tag");
    const [from, to] = await Promise.all([addressOf(text, context), targetOf(tag ?? text, context)]);
    if (tag === null && ((to.kind === "registry" && to.reference.tag === null) || to.kind === "archive"))
      throw new BuildError("USAGE", `${text}: the new image needs a name`, { hint: "use -t NAME" });
    const done = await withImages(`annotating ${text}`, flags, context, (tools) =>
      tools.annotate(from, annotations, to),
    );
    if (done === null) return 1;
    if (done.dropped > 0)
      context.complain(
        `WARNING: attestations left out: ${done.dropped}; they are about the image without the annotations\n`,
      );
    context.print(`${done.descriptor.digest}\n`);
    return 0;
  },
};
