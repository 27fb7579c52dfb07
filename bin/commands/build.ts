// tsbuild build: flags to a request, events to the display, the report to the requested outputs.

import { isAbsolute, relative, resolve } from "node:path";
import type { ParsedFlags } from "../args.ts";
import { readBuildFlags } from "../build-request.ts";
import { chosenBuilder } from "../builder-choice.ts";
import { colourTable } from "../colours.ts";
import type { Lock } from "../engine/lock.ts";
import type { BuildReport, BuildRequest, MakeProvenance, SourceText } from "../engine/request.ts";
import { configuredProxies } from "../docker-proxies.ts";
import { BUILD_FLAGS, FLAGS_WITHOUT_EFFECT } from "../flags-build.ts";
import { gatewayHosts } from "../flags-values.ts";
import { type LocalBuildOptions, withLocalBuild } from "../local-build.ts";
import type { LockFile } from "../lock-file.ts";
import { openDisplay, progressMode } from "../progress.ts";
import { parseStorageLimit } from "../storage-limit.ts";
import { openStepUsage } from "../step-usage.ts";
import type { BuildTrace } from "../otlp.ts";
import { openTracing } from "../tracing.ts";
import { packageVersion } from "../version.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { ExplainedBuild } from "../../solver/solver.ts";
import type { Display } from "../display.ts";
import type { Command, CommandContext } from "../command.ts";

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
    const notes: string[] = [];
    const { env } = context.config;
    await using tracing = await openTracing(env, {
      ...{ service: "tsbuild", version: packageVersion },
      warn: (text) => context.complain(`WARNING: ${text}\n`),
    });
    const target = flags.one("target") ?? "";
    const trace =
      tracing?.build(target === "" ? {} : { "tsbuild.target": target }, {
        ...{ traceparent: env["TRACEPARENT"], tracestate: env["TRACESTATE"] },
      }) ?? null;
    let outcome: { report: BuildReport; request: BuildRequest };
    try {
      outcome = await build(flags, context, display, {
        trace,
        sources,
        warnings,
        onExplained: (last) => void explained.push(last),
        ignored,
        notes,
      });
      trace?.end({ error: "", cancelled: false });
    } catch (error) {
      const cancelled = context.signal.aborted;
      trace?.end({ error: cancelled || !(error instanceof Error) ? "" : error.message, cancelled });
      display.finish();
      if (context.signal.aborted) throw error; // cancelling is not failing
      await explain();
      if (mode !== "quiet" && mode !== "rawjson") await printWarnings(warnings, context, sources);
      return await complain(error, context, display, sources);
    }
    display.finish();
    const { report, request } = outcome;
    await explain();
    if (report.answer !== null) return await printAnswer(report.answer, request, context, sources);
    if (mode !== "quiet" && mode !== "rawjson") {
      const idle = FLAGS_WITHOUT_EFFECT.filter(({ name, changes }) => changes && flags.has(name)).map(
        ({ name }) => `--${name}`,
      );
      idle.push(...ignored);
      if (idle.length > 0)
        context.complain(`\nWARNING: ${idle.join(", ")}: not supported by this builder, ignored\n`);
      await printWarnings(warnings, context, sources);
      for (const note of notes) context.complain(`${note}\n`);
    }
    await writeResults(flags, report, context);
    if (flags.bool("quiet")) context.print(`${report.configDigest ?? report.imageDigest ?? ""}\n`);
    return 0;
  },
};

type Warning = Extract<ProgressEvent, { kind: "warning" }>;

/** What a build has to tell besides its report. */
interface Told {
  readonly trace: BuildTrace | null;
  readonly sources: Map<string, SourceText>;
  readonly warnings: Warning[];
  readonly onExplained: (build: ExplainedBuild) => void;
  /** What was asked for and does nothing. */
  readonly ignored: string[];
  /** Lines for the end. */
  readonly notes: string[];
}

async function build(
  flags: ParsedFlags,
  context: CommandContext,
  display: Display,
  { trace, sources, warnings, onExplained, ignored, notes }: Told,
): Promise<{ report: BuildReport; request: BuildRequest }> {
  const { config, cwd, signal } = context;
  const given = await readBuildFlags(
    flags,
    config.env,
    cwd,
    configuredProxies(config.dockerConfigDir),
    signal,
  );
  const outputs = await readOutputs(flags, cwd, notes);
  await prepareResultFiles(flags, outputs, given.call.name === "build", cwd);
  if (given.network !== "host")
    ignored.push(
      ...gatewayHosts(flags.all("add-host")).map((host) => `--add-host ${host} (except with --network=host)`),
    );
  const onSource = (source: SourceText): void => void sources.set(source.file, source);
  const tell = (event: ProgressEvent): void => {
    if (event.kind === "warning") warnings.push(event);
    trace?.event(event);
    if (event.kind !== "note" || config.verbose) display.event(event);
  };
  const builder = chosenBuilder(flags, config);
  if (builder !== null) {
    const { buildElsewhere } = await import("../remote-build.ts");
    return await buildElsewhere(builder, given, outputs, { flags, context, onSource, emit: tell });
  }
  const maxStorage = parseStorageLimit(flags.one("max-storage") || config.env.TSBUILD_MAX_STORAGE);
  const lock = { file: null as LockFile | null, used: null as Lock | null };
  const lockOf: LocalBuildOptions["lockOf"] = async (place) => {
    if (!flags.has("lock") && !flags.has("locked")) return null;
    const found = await (await import("../lock-file.ts")).lockOfBuild(flags, place, { cwd, signal });
    lock.file = found?.terms.mode === "add" ? found.file : null;
    return found?.terms ?? null;
  };
  const provenanceMode = flags.one("metadata-file")
    ? (await import("../metadata-provenance.ts")).metadataProvenance(config.env)
    : null;
  return await withLocalBuild(
    given,
    { flags, context, outputs, lockOf },
    async ({ engine, request, build }) => {
      const usage = openStepUsage();
      const provenance = { make: null as MakeProvenance | null };
      const report = await build({
        signal,
        ...(provenanceMode !== null && { onProvenance: (make) => void (provenance.make = make) }),
        onSource,
        onExplained,
        onLocked: (used) => void (lock.used = used),
        ...(maxStorage === null ? {} : { maxStorage }),
        emit(event) {
          tell(event);
          const said = usage.take(event);
          if (said !== null && config.verbose) display.event({ kind: "note", message: said });
        },
      });
      if (lock.file !== null && lock.used !== null) {
        const { addToLock } = await import("../lock-file.ts");
        notes.push(...(await addToLock(lock.file, lock.used, { store: engine.store, signal })));
      }
      const more =
        provenance.make === null || provenanceMode === null
          ? {}
          : await (await import("../metadata-provenance.ts")).provenanceMetadata(
              provenance.make,
              provenanceMode,
            );
      const metadata = { ...report.metadata, ...more, ...usage.metadata() };
      return { report: { ...report, metadata }, request };
    },
  );
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
  { config, cwd, print, complain: write }: CommandContext,
  sources: Map<string, SourceText>,
): Promise<number> {
  const [{ renderCall }, { renderFailure }] = await Promise.all([
    import("../call-output.ts"),
    import("../excerpt.ts"),
  ]);
  const { text, exitCode, error } = renderCall(answer, request.call, shownFile(request, cwd));
  print(text);
  if (error !== null) {
    if (answer.kind === "check") sources.set(answer.result.source.file, answer.result.source);
    const colours = process.stderr.isTTY ? colourTable(config.env) : null;
    write(renderFailure(error, { sources, state: null, colours, prefix: "", debug: config.debug }));
  }
  return exitCode;
}

/** The Dockerfile that -f names, from where the command was called, so that a line can be found; null: it is the context's. */
function shownFile({ dockerfile }: BuildRequest, cwd: string): string | null {
  if (dockerfile.kind !== "path") return null;
  const near = relative(cwd, resolve(cwd, dockerfile.path));
  return isAbsolute(dockerfile.path) && !near.startsWith("..") ? near : dockerfile.path;
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

/** What cannot be written at the end is said before the first step, and the id of an earlier build does not stay where this one fails. */
async function prepareResultFiles(
  flags: ParsedFlags,
  outputs: BuildRequest["outputs"],
  isBuild: boolean,
  cwd: string,
): Promise<void> {
  const idFile = flags.one("iidfile");
  if (idFile && outputs.length > 0 && outputs.every((output) => output.kind === "files"))
    throw new BuildError("USAGE", "local and tar exporters are incompatible with image ID file");
  const paths = [idFile, flags.one("metadata-file")].flatMap((path) => (path ? [resolve(cwd, path)] : []));
  if (paths.length === 0) return;
  const { checkResultFile, dropResultFile } = await import("../../exporters/writable.ts");
  if (isBuild) for (const path of paths) checkResultFile(path);
  if (idFile) dropResultFile(resolve(cwd, idFile));
}

async function writeResults(
  flags: ParsedFlags,
  report: BuildReport,
  { cwd, signal }: CommandContext,
): Promise<void> {
  const iidFile = flags.one("iidfile");
  const metadataFile = flags.one("metadata-file");
  if (!iidFile && !metadataFile) return;
  const { writeResultFile } = await import("../../exporters/file-output.ts");
  if (iidFile)
    await writeResultFile(resolve(cwd, iidFile), report.configDigest ?? report.imageDigest ?? "", signal);
  if (metadataFile)
    await writeResultFile(
      resolve(cwd, metadataFile),
      `${JSON.stringify(report.metadata, null, 2)}\n`,
      signal,
    );
}

/** --output, --push and --load as one list. */
async function readOutputs(
  flags: ParsedFlags,
  cwd: string,
  notes: string[],
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
    onUnknown: (attribute, type) =>
      void notes.push(`WARNING: --output: type=${type} has no attribute ${attribute}, ignored`),
  });
}
