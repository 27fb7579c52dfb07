// A build of this command on a builder somewhere else: the request and the session are the same, only the engine is another.

import { createHmac, randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeDirectories, openDirectory, readIn, writeAll, writeWholeIn } from "../cache/outside.ts";
import type { OpenStore } from "../cache/store.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Emit } from "../solver/graph/event.ts";
import { Scope } from "../solver/graph/scope.ts";
import type { ParsedFlags } from "./args.ts";
import type { BuildFlags } from "./build-request.ts";
import { findBuilder } from "./builders.ts";
import type { CommandContext } from "./command.ts";
import type { Config } from "./config.ts";
import { resolveContext } from "./context-source.ts";
import { buildRequest } from "./engine/defaults.ts";
import { openLocalStore } from "./engine/local-store.ts";
import type { BuildReport, BuildRequest, SourceText } from "./engine/request.ts";
import { readTlsFlags } from "./flags-builder.ts";
import { REGISTRY_FLAGS } from "./flags-registry.ts";
import { openBuildSession } from "./local-session.ts";
import { buildRemotely } from "./remote/remote.ts";
import { unsupported } from "./remote/solve-request.ts";
import { openSshSockets } from "./ssh-sockets.ts";

const KEY_BYTES = 32;

export interface ElsewhereOptions {
  readonly flags: ParsedFlags;
  readonly context: CommandContext;
  readonly emit: Emit;
  readonly onSource: (source: SourceText) => void;
}

/** Runs a build on the builder that was asked for, an address or a name. Throws BuildError. */
export async function buildElsewhere(
  asked: string,
  { directories, secrets, ssh: agents, ...given }: BuildFlags,
  outputs: BuildRequest["outputs"],
  { flags, context, emit, onSource }: ElsewhereOptions,
): Promise<{ report: BuildReport; request: BuildRequest }> {
  const { config, cwd, signal } = context;
  refuseLocal(flags);
  const address = findBuilder(asked, readTlsFlags(flags, cwd), { configDir: config.configDir, cwd });
  if (address.kind === "tcp" && address.tls === null && !LOOPBACK.test(address.host))
    config.notice(
      `the connection to tcp://${address.host} is not encrypted: secrets and credentials can be read on its way`,
    );
  let scratch: string | null = null;
  const tempDir = (): string => (scratch ??= temporaryDirectory());
  await using scope = new Scope(null);
  scope.use({
    async [Symbol.asyncDispose]() {
      if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
    },
  });
  const where = await resolveContext(flags.positionals[0] ?? "", flags.one("file"), {
    cwd,
    stdin: () => process.stdin,
    tempDir,
    signal,
  });
  const lock = flags.has("locked")
    ? await (await import("./lock-file.ts")).lockOfBuild(flags, where, { cwd, signal })
    : null;
  const policies =
    lock === null ? [] : [(await import("./engine/lock-policy.ts")).lockPolicy(lock.terms.entries)];
  const ssh = scope.use(await openSshSockets(agents, { config, tempDir }));
  const session = openBuildSession(config, where.context, { signal, directories, secrets, ssh: ssh.paths });
  const sourcePolicies = [...given.sourcePolicies, ...policies];
  const request = buildRequest({ ...given, ...where, sourcePolicies, ociRuntime: null, outputs, session });
  let store: Promise<OpenStore> | null = null;
  const report = await buildRemotely(request, {
    ...{ address, env: config.env, tempDir, signal, emit, onSource },
    ...(await keysOf(request, config)),
    store: () =>
      (store ??= openLocalStore(config, {
        onMended: (what) => void process.stderr.write(`WARNING: the store ${config.root}: ${what}\n`),
      }).then((opened) => scope.use(opened))),
  }).catch((error: unknown) => {
    throw lock === null ? error : withLockNamed(error, lock.terms.file);
  });
  return { report, request };
}

/** The builder does not know what its rules come from. */
function withLockNamed(error: unknown, file: string): unknown {
  if (!(error instanceof BuildError) || !error.message.includes("denied by policy")) return error;
  const { message, at, vertex, cause } = error;
  const hint = `what is not in the lock file ${file} is denied; 'tsbuild update' adds it`;
  return new BuildError("NOT_LOCKED", message, { at, vertex, hint, cause: cause ?? error });
}

function temporaryDirectory(): string {
  try {
    return mkdtempSync(join(tmpdir(), "tsbuild-"));
  } catch (cause) {
    const { code = "" } = cause as NodeJS.ErrnoException;
    throw new BuildError("USAGE", `cannot make a temporary directory in ${tmpdir()}: ${code}`, {
      cause,
      hint: "set TMPDIR to a directory that can be written to",
    });
  }
}

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** Flags of the engine, the store and the registries of this machine mean nothing on another. */
function refuseLocal(flags: ParsedFlags): void {
  const hint = "it is a setting of builds on this machine";
  for (const name of ["allow-frontend", "explain", "max-storage", "oci-runtime", "sign", "signature-policy"])
    if (flags.has(name) && flags.one(name) !== "false") throw unsupported(`--${name}`, hint);
  if (flags.has("lock"))
    throw unsupported(
      "--lock",
      "builders do not tell what they resolved: 'tsbuild update' writes the lock file here, and --locked uses it there",
    );
  for (const { name } of REGISTRY_FLAGS)
    if (flags.has(name)) throw unsupported(`--${name}`, "set it in the configuration of the builder");
}

/** Keys of this user. The first names the context's directory for builders that keep copies, in a way that only this user can: who names a copy may learn what is in it. */
async function keysOf(
  { context }: BuildRequest,
  config: Config,
): Promise<{ readonly sharedKey: string; readonly tokenSecret: string }> {
  const key = await clientKey(config.configDir);
  const name = context.kind === "directory" ? realpathSync(context.path) : context.kind;
  const keyFor = (what: string): string => createHmac("sha256", key).update(what).digest("hex");
  // No path is empty, and none has a NUL.
  return { sharedKey: keyFor(name).slice(0, 32), tokenSecret: keyFor("\0tokens") };
}

/** Made once. A configuration that cannot be written makes no copies that are used again. */
async function clientKey(configDir: string): Promise<Buffer> {
  try {
    makeDirectories(configDir, 0o700);
    const directory = openDirectory(configDir);
    try {
      const known = readIn(directory, KEY_FILE, KEY_BYTES);
      if (known !== null && known.length === KEY_BYTES) return known;
      const made = randomBytes(KEY_BYTES);
      await writeWholeIn(directory, KEY_FILE, (fd) => writeAll(fd, made), 0o600);
      return made;
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    if (error instanceof BuildError && error.code === "LIMIT_EXCEEDED") throw error;
    return randomBytes(KEY_BYTES);
  }
}
const KEY_FILE = "client-key";
