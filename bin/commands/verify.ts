// tsbuild verify: is a build reproducible? Exit codes: 0 it is, 1 it is not, 2 trouble.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { parseSubject } from "../compare-subject.ts";
import type { Lock } from "../engine/lock.ts";
import type { SourceText } from "../engine/request.ts";
import { OUTPUT_FILE_FLAG } from "../flags-common.ts";
import { BUILD_FLAGS } from "../flags-build.ts";
import { LIMIT_FLAGS } from "../flags-limits.ts";
import { REGISTRY_FLAGS } from "../flags-registry.ts";
import { RUNTIME_FLAGS } from "../flags-runtime.ts";
import { formatOf, REPORT_FORMATS, type ReportFormat, writeReport } from "../report-output.ts";
import { openDisplay, progressMode } from "../progress.ts";
import { openLocalEngine } from "../local-store.ts";
import type { ParsedFlags } from "../args.ts";
import type { Verification } from "../verify.ts";
import type { Extent } from "../verify-text.ts";

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
    "lock",
    "locked",
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
    "signature-policy",
    "source-policy",
    "source-policy-file",
    "ssh",
    "target",
    "ulimit",
  ],
]);

const SIGNATURES = "signatures are verified by 'tsbuild verify-signature'";
/** Flags of `cosign verify`. */
const OF_COSIGN = {
  key: SIGNATURES,
  "certificate-identity": SIGNATURES,
  "certificate-identity-regexp": SIGNATURES,
  "certificate-oidc-issuer": SIGNATURES,
  "certificate-oidc-issuer-regexp": SIGNATURES,
  "insecure-ignore-tlog": SIGNATURES,
};

export const command: Command = {
  flags: {
    usage: "[OPTIONS] PATH | URL | IMAGE [PATH | URL]",
    positionals: { min: 1, max: 2 },
    elsewhere: {
      t: "leave it out: neither image is kept",
      tag: "leave it out: neither image is kept",
      ...OF_COSIGN,
    },
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
        name: "quiet",
        short: "q",
        kind: "bool",
        help: "No logs, and of the report verdict and causes alone",
      },
      {
        name: "fix",
        kind: "optional",
        value: "file",
        help: "Write a patch of the Dockerfile to standard output or a file",
      },
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
    const fix = flags.has("fix") ? (flags.one("fix") ?? "") : null;
    const extent = flags.bool("quiet") ? "causes" : context.config.verbose ? "all" : "summary";
    const report = await renderAs(format, found, extent);
    const output = flags.one("output");
    if (fix === "" && output === null) context.complain(report);
    else await writeReport(report, output, context);
    if (fix !== null) await writeFix(fix, found, context);
    return found.same ? 0 : 1;
  },
};

async function renderAs(format: ReportFormat, found: Verification, extent: Extent): Promise<string> {
  switch (format) {
    case "html":
      return (await import("../report-html.ts")).verificationHtml(found);
    case "json":
      return `${JSON.stringify((await import("../verify-text.ts")).verificationJson(found), null, 2)}\n`;
    case "text":
      return (await import("../verify-text.ts")).renderVerification(found, extent);
  }
}

/** Writes the patch of --fix: to its file, or to standard output, which the report leaves to it then. */
async function writeFix(path: string, found: Verification, context: CommandContext): Promise<void> {
  const [{ proposeFixes }, { verificationFindings }] = await Promise.all([
    import("../engine/compare/fix.ts"),
    import("../verify-text.ts"),
  ]);
  const { patch, left, remarks } = await proposeFixes(found.dockerfile, verificationFindings(found));
  await writeReport(patch, path, context);
  for (const remark of remarks) context.complain(`--fix: ${remark}\n`);
  if (patch === "" && !found.same)
    context.complain("--fix: none of the causes can be changed mechanically\n");
  else if (left.length > 0) {
    const names = [...new Set(left.map((one) => one.class))].join(", ");
    context.complain(`--fix: left for you: ${names}\n`);
  }
}

/** null: a build failed, and why has been said. */
async function verify(flags: ParsedFlags, context: CommandContext): Promise<Verification | null> {
  const { config, signal } = context;
  const mode = flags.bool("quiet") ? "quiet" : progressMode(flags.one("progress"), config.env);
  const open = (): ReturnType<typeof openDisplay> =>
    openDisplay(mode, { stream: process.stderr, env: config.env });
  let display = await open();
  const sources = new Map<string, SourceText>();
  const notes: string[] = [];
  try {
    await using engine = await openLocalEngine(config, { signal });
    const { verifyRequest } = await import("../verify-request.ts");
    const { verifyBuild } = await import("../verify.ts");
    const [first = "", second = null] = flags.positionals;
    checkValues(flags, context.cwd);
    const image = second !== null || !isContext(first, context.cwd) ? parseSubject(first, context.cwd) : null;
    const emit = (event: Parameters<typeof display.event>[0]): void => {
      if (event.kind !== "note" || config.verbose) display.event(event);
    };
    await using asked = await verifyRequest(
      engine,
      { flags, image, context: image === null ? first : second },
      { ...context, emit },
    );
    const announce = (text: string): void => {
      if (mode === "auto" || mode === "plain" || mode === "tty") context.complain(`=== ${text}\n`);
    };
    if (image === null) announce("first build");
    let used: Lock | null = null;
    const found = await verifyBuild(engine, asked.request, image, {
      ...{ config, signal, emit, session: asked.session, varied: asked.varied },
      async onSecond() {
        display.finish();
        announce(image === null ? "second build, in other conditions" : "build to compare with the image");
        display = await open();
      },
      onSource: (source) => void sources.set(source.file, source),
      onLocked: (all) => void (used = all),
    });
    if (asked.lockFile !== null && used !== null) {
      const { addToLock } = await import("../lock-file.ts");
      notes.push(...(await addToLock(asked.lockFile, used, { store: engine.store, signal })));
    }
    display.finish();
    for (const note of notes) context.complain(`${note}\n`);
    return found;
  } catch (error) {
    display.finish();
    if (signal.aborted || (error instanceof BuildError && error.code === "USAGE")) throw error;
    const failed = withPathHint(error, flags.positionals);
    const { renderFailure } = await import("../excerpt.ts");
    context.complain(
      renderFailure(failed, {
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

/** What was meant as a path may be no directory: it has been looked for as an image, which says nothing of directories. */
function withPathHint(error: unknown, [first = "", second]: readonly string[]): unknown {
  const isUnfound = error instanceof BuildError && /^(?:REGISTRY|IMAGE)_/.test(error.code);
  if (!isUnfound || second !== undefined || !/^[\w./-]+$/.test(first)) return error;
  const hint = `there is no directory ${first} here, so it was taken for an image; ${error.hint ?? "check its name"}`;
  return new BuildError(error.code, error.message, { cause: error, hint });
}

/** "--lock FILE PATH": FILE would be taken for an image, and looked for in a registry. Throws USAGE. */
function checkValues(flags: ParsedFlags, cwd: string): void {
  const [file = "", path = null] = flags.positionals;
  const flag = ["lock", "locked", "fix"].find((name) => flags.all(name).includes(""));
  if (flag === undefined || path === null) return;
  const isThere = statSync(resolve(cwd, file), { throwIfNoEntry: false })?.isFile() === true;
  // A patch is only to be written.
  const isPatch = flag === "fix" && /\.(?:patch|diff)$/.test(file);
  if ((!isThere && !isPatch) || file.startsWith(".")) return;
  throw new BuildError("USAGE", `${file} is ${isThere ? "a file and no" : "no"} image`, {
    hint: `if it belongs to the flag, write --${flag}=${file}`,
    exitCode: 2,
  });
}

/** A directory, a URL, or what can only be one of them. */
function isContext(text: string, cwd: string): boolean {
  if (/^(?:https?:\/\/|git:\/\/|ssh:\/\/|github\.com\/|[a-zA-Z0-9_.-]+@[^/:]+:)/.test(text)) return true;
  const stat = statSync(resolve(cwd, text), { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) return text === ".";
  return statSync(resolve(cwd, text, "oci-layout"), { throwIfNoEntry: false }) === undefined;
}
