// tsbuild verify: is a build reproducible? Exit codes: 0 it is, 1 it is not, 2 trouble.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { parseSubject } from "../compare-subject.ts";
import type { SourceText } from "../engine/request.ts";
import { OUTPUT_FILE_FLAG } from "../flags-common.ts";
import { BUILD_FLAGS } from "../flags-build.ts";
import { LIMIT_FLAGS } from "../flags-limits.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { RUNTIME_FLAGS } from "../flags-runtime.ts";
import { formatOf, REPORT_FORMATS, writeReport } from "../report-output.ts";
import { openDisplay, progressMode } from "../progress.ts";
import { openLocalEngine } from "../local-store.ts";
import type { ParsedFlags } from "../args.ts";
import type { Verification } from "../verify.ts";

/** Flags of build that say what is built, and with what. */
const CARRIED: ReadonlySet<string> = new Set([
  ...[
    "add-host",
    "allow",
    "build-arg",
    "build-arg-file",
    "build-context",
    "context-mode",
    "file",
    "label",
    "network",
  ],
  ...[
    "no-cache",
    "no-cache-filter",
    "platform",
    "progress",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "target",
    "ulimit",
  ],
]);

export const command: Command = {
  flags: {
    usage: "[OPTIONS] PATH | URL | IMAGE [PATH | URL]",
    positionals: { min: 1, max: 2 },
    usageExitCode: 2,
    flags: [
      ...REGISTRY_FLAGS,
      ...BUILD_FLAGS.flags.filter(({ name }) => CARRIED.has(name)),
      {
        name: "format",
        kind: "string",
        initial: '"text"',
        help: `Format of the report (${REPORT_FORMATS.map((format) => `"${format}"`).join(", ")})`,
      },
      ...LIMIT_FLAGS,
      ...RUNTIME_FLAGS,
      OUTPUT_FILE_FLAG,
      {
        name: "reproducible",
        kind: "bool",
        initial: "true",
        help: "Build with --reproducible, which sets all new file times",
      },
      {
        name: "same",
        kind: "list",
        help: 'Conditions that are not varied ("locale,host-name", …; docs/verify.md)',
      },
    ],
  },
  async run(flags, context) {
    const format = formatOf(flags.one("format"));
    const found = await verify(flags, context);
    if (found === null) return 2;
    await writeReport(await renderAs(format, found), flags.one("output"), context);
    return found.same ? 0 : 1;
  },
};

async function renderAs(format: (typeof REPORT_FORMATS)[number], found: Verification): Promise<string> {
  const { renderVerification, verificationJson } = await import("../verify-text.ts");
  return format === "json"
    ? `${JSON.stringify(verificationJson(found), null, 2)}\n`
    : renderVerification(found);
}

/** null: a build failed, and why has been said. */
async function verify(flags: ParsedFlags, context: CommandContext): Promise<Verification | null> {
  const { config, signal } = context;
  const mode = progressMode(flags.one("progress"), config.env);
  const display = await openDisplay(mode, { stream: process.stderr, env: config.env });
  const sources = new Map<string, SourceText>();
  try {
    await using engine = await openLocalEngine(config, { signal });
    const { verifyRequest } = await import("../verify-request.ts");
    const { verifyBuild } = await import("../verify.ts");
    const { first = "", second = null } = {
      first: flags.positionals[0],
      second: flags.positionals[1] ?? null,
    };
    const image = second !== null || !isContext(first, context.cwd) ? parseSubject(first, context.cwd) : null;
    const emit = (event: Parameters<typeof display.event>[0]): void => {
      if (event.kind !== "note" || config.verbose) display.event(event);
    };
    await using asked = await verifyRequest(
      engine,
      { flags, image, context: image === null ? first : second },
      { ...context, emit },
    );
    const found = await verifyBuild(engine, asked.request, image, {
      ...{ config, signal, emit, session: asked.session, varied: asked.varied },
      onSource: (source) => void sources.set(source.file, source),
    });
    display.finish();
    return found;
  } catch (error) {
    display.finish();
    if (signal.aborted || (error instanceof BuildError && error.code === "USAGE")) throw error;
    const { renderFailure } = await import("../excerpt.ts");
    context.complain(
      renderFailure(error, {
        sources,
        state: display.state,
        colours: null,
        prefix: "failed to verify: ",
        debug: config.debug,
      }),
    );
    return null;
  }
}

/** A directory, a URL, or what can only be one of them. */
function isContext(text: string, cwd: string): boolean {
  if (/^(?:https?:\/\/|git:\/\/|ssh:\/\/|github\.com\/|[a-zA-Z0-9_.-]+@[^/:]+:)/.test(text)) return true;
  const stat = statSync(resolve(cwd, text), { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) return text === ".";
  return statSync(resolve(cwd, text, "oci-layout"), { throwIfNoEntry: false }) === undefined;
}
