// A build on this machine, for the commands that make one: engine, context, session and request.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseCsv } from "./flags-values.ts";
import type { ParsedFlags } from "./args.ts";
import type { BuildFlags } from "./build-request.ts";
import type { CommandContext } from "./command.ts";
import { resolveContext } from "./context-source.ts";
import { buildRequest } from "./engine/defaults.ts";
import type { BuildReport, BuildRequest, EngineBuildOptions } from "./engine/request.ts";
import type { Engine } from "./engine/contract.ts";
import { openLocalEngine } from "./local-store.ts";
import { openBuildSession } from "./local-session.ts";
import { openSshSockets } from "./ssh-sockets.ts";
import { BuildError } from "../solver/graph/error.ts";

export interface LocalBuild {
  readonly engine: Engine;
  readonly request: BuildRequest;
  /** Builds, with the frontends that --allow-frontend lets run. */
  build(options: EngineBuildOptions): Promise<BuildReport>;
}

export interface LocalBuildOptions {
  readonly flags: ParsedFlags;
  readonly context: CommandContext;
  readonly outputs: BuildRequest["outputs"];
  /** Of the Dockerfile that is found. */
  readonly lockOf: (place: Pick<BuildRequest, "context" | "dockerfile">) => Promise<BuildRequest["lock"]>;
}

/** Opens what a build needs, and closes it when `work` has ended. Throws BuildError. */
export async function withLocalBuild<T>(
  given: BuildFlags,
  { flags, context, outputs, lockOf }: LocalBuildOptions,
  work: (build: LocalBuild) => Promise<T>,
): Promise<T> {
  const { config, cwd, signal } = context;
  const { directories, secrets, ssh: agents, ...asked } = given;
  await using engine = await openLocalEngine(config, { signal });
  let scratch: string | null = null;
  const tempDir = (): string => (scratch ??= mkdtempSync(join(engine.store.tempDir(), "stdin-")));
  try {
    const where = await resolveContext(flags.positionals.at(-1) ?? "", flags.one("file"), {
      ...{ cwd, tempDir, signal },
      stdin: () => process.stdin,
    });
    const lock = await lockOf(where);
    await using ssh = await openSshSockets(agents, { config, tempDir: () => engine.store.tempDir() });
    const session = openBuildSession(config, where.context, { signal, directories, secrets, ssh: ssh.paths });
    const signing = await readSigning(flags, context);
    const plain = buildRequest({ ...asked, ...where, outputs, session, lock, ...signing });
    const request =
      plain.attestations === null && !flags.one("metadata-file")
        ? plain
        : { ...plain, frontendArgs: (await import("./frontend-args.ts")).frontendArgs(plain) };
    const repositories = allowedFrontends(flags);
    const build = async (options: EngineBuildOptions): Promise<BuildReport> =>
      repositories === null
        ? await engine.build(request, options)
        : await (await import("./frontend-build.ts")).buildWithFrontends(engine, request, options, {
            repositories,
            tempDir,
          });
    return await work({ engine, request, build });
  } finally {
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
  }
}

/** --sign and --signature-policy. */
async function readSigning(
  flags: ParsedFlags,
  context: CommandContext,
): Promise<Pick<BuildRequest, "signings" | "signaturePolicy">> {
  const values = flags.all("sign");
  const signings =
    values.length === 0 ? [] : await (await import("./sign-flags.ts")).readSignFlags(values, context);
  return { signings, signaturePolicy: await readPolicyFlag(flags, context) };
}

/** --signature-policy; null: it is not given. Throws USAGE, FILE_INVALID. */
export async function readPolicyFlag(
  flags: ParsedFlags,
  context: CommandContext,
): Promise<NonNullable<BuildRequest["signaturePolicy"]> | null> {
  const policy = flags.one("signature-policy");
  if (policy === null) return null;
  // A variable that is not set must not turn the policy off.
  if (policy === "") throw new BuildError("USAGE", "--signature-policy: the name of a file is missing");
  return await (await import("./signature-policy-file.ts")).readSignaturePolicy(policy, context);
}

/** The repositories of --allow-frontend, none: any; null: frontends in images are not run. */
function allowedFrontends(flags: ParsedFlags): readonly string[] | null {
  const values = flags.all("allow-frontend");
  if (values.length === 0) return null;
  return values.includes("") ? [] : values.flatMap(parseCsv);
}
