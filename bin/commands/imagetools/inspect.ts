// tsbuild imagetools inspect: an image of a registry, in the words of docker buildx.

import { IMAGE_FLAGS, registryAddress, withImages } from "../../image-command.ts";
import type { Command } from "../../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] NAME",
    positionals: { min: 1, max: 1 },
    flags: [
      ...IMAGE_FLAGS,
      { name: "builder", kind: "string", help: "" },
      { name: "format", kind: "string", help: "Format the output using the given Go template" },
      { name: "raw", kind: "bool", help: "Show original, unformatted JSON manifest" },
    ],
  },
  async run(flags, context) {
    const [text = ""] = flags.positionals;
    const address = await registryAddress(text, context);
    const format = flags.one("format") ?? "";
    const printed = await withImages(`inspecting ${text}`, flags, context, async (tools) => {
      const image = await tools.open(address);
      if (flags.bool("raw")) return image.graph.bytes ?? "";
      // As in buildx: "{{.Manifest" is the manifest as text.
      if (format === "" || /^\{\{\s*\.Manifest\b/.test(format)) {
        const { inspectText } = await import("../../imagetools-text.ts");
        return inspectText(image.name, image.graph);
      }
      const [{ compileTemplate }, { inspectFields }, { encodeGoJson }] = await Promise.all([
        import("../../go-template.ts"),
        import("../../imagetools-fields.ts"),
        import("../../../exporters/go-json.ts"),
      ]);
      const json = (value: unknown): string => Buffer.from(encodeGoJson(value ?? null, 2)).toString("utf8");
      const template = compileTemplate(format, { functions: { json } });
      const isAttested = /\.(?:Provenance|SBOM)\b|\{\{\s*(?:json\s+)?\.\s*\}\}|\$/.test(format);
      return template(await inspectFields(image, image.name, isAttested));
    });
    if (printed === null) return 1;
    context.print(printed);
    return 0;
  },
};
