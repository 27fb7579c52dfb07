// tsbuild diff: what differs between two images, archives or directories, and why. Exit codes as of diff(1): 0 the same, 1 different, 2 trouble.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { parseSubject } from "../compare-subject.ts";
import type { Command, CommandContext } from "../command.ts";
import type { Comparison, SourceFile } from "../engine/compare/contract.ts";
import { OUTPUT_FILE_FLAG, progressFlag } from "../flags-common.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { formatOf, REPORT_FORMATS, writeReport } from "../report-output.ts";
import { progressMode } from "../progress.ts";
import { transfer } from "../transfer.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS] A B",
    positionals: { min: 2, max: 2 },
    usageExitCode: 2,
    flags: [
      ...REGISTRY_FLAGS,
      {
        name: "file",
        short: "f",
        kind: "string",
        help: "Dockerfile of B, to name lines (default: what its provenance has)",
      },
      {
        name: "format",
        kind: "string",
        initial: '"text"',
        help: `Format of the output (${REPORT_FORMATS.map((format) => `"${format}"`).join(", ")})`,
      },
      OUTPUT_FILE_FLAG,
      { name: "platform", kind: "string", help: "Platform of the images, if there are several" },
      progressFlag("auto"),
      {
        name: "quiet",
        short: "q",
        kind: "bool",
        help: "Say nothing: only the exit code (0 same, 1 different, 2 trouble)",
      },
      { name: "target", kind: "string", help: "Stage of --file that B is" },
    ],
  },
  async run(flags, context) {
    const format = formatOf(flags.one("format"));
    const [a = "", b = ""] = flags.positionals;
    const asked = flags.one("platform");
    const { parsePlatform } = await import("../flags-values.ts");
    const request = {
      a: parseSubject(a, context.cwd),
      b: parseSubject(b, context.cwd),
      platform: asked === null ? null : parsePlatform(asked),
      source: await readSource(flags.one("file"), flags.one("target"), context),
      known: [],
    };
    const mode = progressMode(flags.one("progress") ?? "auto", context.config.env);
    const found = await transfer("Comparing", mode, context, (engine, options) =>
      engine.compare(request, options),
    );
    if (found === null) {
      const path = flags.positionals.find(
        (text) => /^\w[^:]*$/.test(text) && existsSync(resolve(context.cwd, text)),
      );
      if (path !== undefined)
        context.complain(`hint: ${path} was taken for an image; for the path write ./${path}\n`);
      return 2;
    }
    if (!flags.bool("quiet")) await writeReport(await renderAs(format, found), flags.one("output"), context);
    return found.same ? 0 : 1;
  },
};

async function renderAs(format: (typeof REPORT_FORMATS)[number], comparison: Comparison): Promise<string> {
  switch (format) {
    case "text":
      return (await import("../diff-text.ts")).renderComparison(comparison);
    case "html":
      return (await import("../report-html.ts")).comparisonHtml(comparison);
    case "json": {
      const { findingsOf } = await import("../engine/compare/findings.ts");
      return `${JSON.stringify({ ...comparison, findings: findingsOf(comparison) }, null, 2)}\n`;
    }
  }
}

async function readSource(
  file: string | null,
  target: string | null,
  { cwd, signal }: CommandContext,
): Promise<SourceFile | null> {
  if (file === null) return null;
  const { readGiven } = await import("../given-file.ts");
  const { DOCKERFILE_MAX_BYTES } = await import("../engine/context-files.ts");
  try {
    const text = (await readGiven(resolve(cwd, file), DOCKERFILE_MAX_BYTES, signal)).toString("utf8");
    return { name: file, text, target };
  } catch (cause) {
    signal.throwIfAborted();
    throw new BuildError(
      "USAGE",
      `--file ${file}: cannot be read (${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message})`,
      { cause },
    );
  }
}
