// tsbuild build: flags to a request, events to the display, the report to what was asked for.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ParsedFlags } from "../args.ts";
import { MAIN_DIRECTORY, readBuildFlags } from "../build-request.ts";
import { colourTable } from "../colours.ts";
import type { Command, CommandContext } from "../commands.ts";
import type { BuildReport, BuildRequest, SourceText } from "../config.ts";
import { resolveContext } from "../context-source.ts";
import { configuredProxies } from "../docker-proxies.ts";
import { BUILD_FLAGS, FLAGS_WITHOUT_EFFECT } from "../flags-build.ts";
import { gatewayHosts } from "../flags-values.ts";
import { openLocalSession } from "../local-session.ts";
import { type Display, openDisplay, progressMode } from "../progress.ts";
import { openSshSockets } from "../ssh-sockets.ts";
import { openStepUsage } from "../step-usage.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { ExplainedBuild } from "../../solver/solver.ts";

export const command: Command = {
  flags: BUILD_FLAGS,
  async run(flags, context) {
    const progress = flags.one("progress");
    if (flags.bool("quiet") && !["", "auto", "quiet"].includes(progress ?? ""))
      throw new BuildError("USAGE", `progress=${progress} and quiet cannot be used together`);
    const mode = flags.bool("quiet") ? "quiet" : progressMode(progress, context.config.env);
    const display = await openDisplay(mode, { stream: process.stderr, env: context.config.env });
    const sources = new Map<string, SourceText>();
    const warnings: Warning[] = [];
    const explained: ExplainedBuild[] = [];
    const explain = async (): Promise<void> => {
      const [last] = explained;
      if (!flags.bool("explain") || last === undefined) return;
      context.complain((await import("../explain-text.ts")).renderExplained(last));
    };
    const ignored: string[] = [];
    let outcome: { report: BuildReport; request: BuildRequest };
    try {
      outcome = await build(flags, context, display, {
        sources,
        warnings,
        onExplained: (last) => void explained.push(last),
        ignored,
      });
    } catch (error) {
      display.finish();
      if (context.signal.aborted) throw error; // cancelling is not failing
      await explain();
      return complain(error, context, display, sources);
    }
    display.finish();
    const { report, request } = outcome;
    await explain();
    if (report.answer !== null) return printAnswer(report.answer, request, context, sources);
    if (mode !== "quiet" && mode !== "rawjson") {
      const idle = FLAGS_WITHOUT_EFFECT.filter(({ name, changes }) => changes && flags.has(name)).map(
        ({ name }) => `--${name}`,
      );
      idle.push(...ignored);
      if (idle.length > 0)
        context.complain(`\nWARNING: ${idle.join(", ")}: without effect in this builder\n`);
      await printWarnings(warnings, context, sources);
    }
    writeResults(flags, report);
    if (flags.bool("quiet")) context.print(`${report.configDigest ?? report.imageDigest ?? ""}\n`);
    return 0;
  },
};

type Warning = Extract<ProgressEvent, { kind: "warning" }>;

/** What a build has to tell besides its report. */
interface Told {
  readonly sources: Map<string, SourceText>;
  readonly warnings: Warning[];
  readonly onExplained: (build: ExplainedBuild) => void;
  /** What was asked for and does nothing. */
  readonly ignored: string[];
}

async function build(
  flags: ParsedFlags,
  context: CommandContext,
  display: Display,
  { sources, warnings, onExplained, ignored }: Told,
): Promise<{ report: BuildReport; request: BuildRequest }> {
  const { config, cwd, signal } = context;
  const { directories, ...asked } = await readBuildFlags(
    flags,
    config.env,
    cwd,
    configuredProxies(config.dockerConfigDir),
  );
  const outputs = await readOutputs(flags, cwd, ignored);
  prepareIdFile(flags.one("iidfile"), outputs);
  if (asked.network !== "host")
    ignored.push(
      ...gatewayHosts(flags.all("add-host")).map((host) => `--add-host ${host} (but with --network=host)`),
    );
  const { openEngine } = await import("../engine.ts");
  await using engine = await openEngine(config);
  let scratch: string | null = null;
  try {
    const where = await resolveContext(flags.positionals[0] ?? "", flags.one("file"), {
      cwd,
      stdin: process.stdin,
      tempDir: () => (scratch ??= mkdtempSync(join(engine.store.tempDir(), "stdin-"))),
      signal,
    });
    await using ssh = await openSshSockets(asked.ssh, { config, tempDir: () => engine.store.tempDir() });
    const session = openLocalSession(config, {
      directories:
        where.context.kind === "directory"
          ? new Map([...directories, [MAIN_DIRECTORY, where.context.path]])
          : directories,
      secrets: asked.secrets,
      ssh: ssh.paths,
    });
    const request: BuildRequest = Object.freeze({
      ...asked,
      ...where,
      outputs,
      session,
    });
    const usage = openStepUsage();
    const report = await engine.build(request, {
      signal,
      onSource: (source) => void sources.set(source.file, source),
      onExplained,
      maxStorage: flags.one("max-storage"),
      emit(event) {
        if (event.kind === "warning") warnings.push(event);
        if (event.kind !== "note" || config.verbose) display.event(event);
        const said = usage.take(event);
        if (said !== null && config.verbose) display.event({ kind: "note", message: said });
      },
    });
    return { report: { ...report, metadata: { ...report.metadata, ...usage.metadata() } }, request };
  } finally {
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
  }
}

async function complain(
  error: unknown,
  { config, complain: write }: CommandContext,
  display: Display,
  sources: ReadonlyMap<string, SourceText>,
): Promise<number> {
  const { renderFailure } = await import("../excerpt.ts");
  const colours = process.stderr.isTTY ? colourTable(config.env) : null;
  const solving = display.state.steps.size > 0 || sources.size > 0;
  const prefix = solving ? "failed to build: failed to solve: " : "failed to build: ";
  write(renderFailure(error, { sources, state: display.state, colours, prefix, debug: config.debug }));
  return error instanceof BuildError && error.code === "USAGE" ? (error.exitCode ?? 1) : 1;
}

async function printAnswer(
  answer: NonNullable<BuildReport["answer"]>,
  request: BuildRequest,
  { config, print, complain: write }: CommandContext,
  sources: Map<string, SourceText>,
): Promise<number> {
  const [{ renderCall }, { renderFailure }] = await Promise.all([
    import("../call-output.ts"),
    import("../excerpt.ts"),
  ]);
  const { text, exitCode, error } = renderCall(answer, request.call);
  print(text);
  if (error !== null) {
    if (answer.kind === "check") sources.set(answer.result.source.file, answer.result.source);
    const colours = process.stderr.isTTY ? colourTable(config.env) : null;
    write(renderFailure(error, { sources, state: null, colours, prefix: "", debug: config.debug }));
  }
  return exitCode;
}

/** The list buildx prints below a build; with --debug each with what it means and its lines. */
async function printWarnings(
  warnings: readonly Warning[],
  { config, complain: write }: CommandContext,
  sources: ReadonlyMap<string, SourceText>,
): Promise<void> {
  if (warnings.length === 0) return;
  const { renderWarnings } = await import("../excerpt.ts");
  write(
    renderWarnings(warnings, {
      sources,
      colours: process.stderr.isTTY ? colourTable(config.env) : null,
      debug: config.debug,
    }),
  );
}

/** The id of an earlier build does not stay where this one fails. */
function prepareIdFile(path: string | null, outputs: BuildRequest["outputs"]): void {
  if (path === null || path === "") return;
  if (outputs.length > 0 && outputs.every((output) => output.kind === "files"))
    throw new BuildError("USAGE", "local and tar exporters are incompatible with image ID file");
  rmSync(path, { force: true });
}

function writeResults(flags: ParsedFlags, report: BuildReport): void {
  const iidFile = flags.one("iidfile");
  const metadataFile = flags.one("metadata-file");
  if (iidFile) writeResult(iidFile, report.configDigest ?? report.imageDigest ?? "");
  if (metadataFile) writeResult(metadataFile, `${JSON.stringify(report.metadata, null, 2)}\n`);
}

function writeResult(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** --output, --push and --load as one list. */
async function readOutputs(
  flags: ParsedFlags,
  cwd: string,
  ignored: string[],
): Promise<BuildRequest["outputs"]> {
  const push = flags.bool("push");
  const load = flags.bool("load");
  const texts = [...flags.all("output")];
  if (texts.length === 0 && !push && !load) return [];
  const { readOutputFlags } = await import("../output-flags.ts");
  return readOutputFlags(texts, {
    push,
    load,
    cwd,
    onUnknown: (attribute) => void ignored.push(`${attribute} (of an output)`),
  });
}
