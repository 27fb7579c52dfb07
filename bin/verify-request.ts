// What verify builds: the flags, or for an image what its provenance says, with the flags on top.

import { mkdtempSync, rmSync } from "node:fs";
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { Emit } from "../solver/graph/event.ts";
import type { Session } from "../solver/graph/session.ts";
import { join } from "node:path";
import type { ParsedFlags } from "./args.ts";
import { readBuildFlags } from "./build-request.ts";
import type { CommandContext } from "./command.ts";
import { resolveContext } from "./context-source.ts";
import { configuredProxies } from "./docker-proxies.ts";
import type { BuiltImageFrom, Subject } from "./engine/compare/contract.ts";
import { buildRequest, MAIN_DIRECTORY } from "./engine/defaults.ts";
import type { BuildRequest } from "./engine/request.ts";
import type { Engine } from "./engine/contract.ts";
import type { SourcePolicy } from "./engine/source-policy.ts";
import { readPolicyFlag } from "./local-build.ts";
import { type LockFile, lockOfBuild } from "./lock-file.ts";
import { openLocalSession } from "./local-session.ts";
import { openSshSockets } from "./ssh-sockets.ts";
import { readSame, vary, type Varied } from "./verify-conditions.ts";

export interface VerifyRequest extends AsyncDisposable {
  readonly request: BuildRequest;
  readonly varied: Varied;
  readonly session: (context: string | null) => Session;
  /** What is new is added to it; null: nothing is. */
  readonly lockFile: LockFile | null;
}

/** Throws USAGE where an image's context is not known. */
export async function verifyRequest(
  engine: Engine,
  {
    flags,
    image,
    context: given,
  }: { readonly flags: ParsedFlags; readonly image: Subject | null; readonly context: string | null },
  caller: CommandContext & { readonly emit: Emit },
): Promise<VerifyRequest> {
  const { config, cwd, signal, emit, complain } = caller;
  const read = await readBuildFlags(
    flags,
    config.env,
    cwd,
    configuredProxies(config.dockerConfigDir),
    signal,
  );
  const { directories, secrets, ssh: agents, ...asked } = read;
  const ssh = await openSshSockets(agents, { config, tempDir: () => engine.store.tempDir() });
  let scratch: string | null = null;
  const close = async (): Promise<void> => {
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
    await ssh[Symbol.asyncDispose]();
  };
  try {
    const sessionOf = (path: string | null): Session =>
      openLocalSession(config, {
        ...{ signal, secrets, ssh: ssh.paths },
        directories: path === null ? directories : new Map([...directories, [MAIN_DIRECTORY, path]]),
      });
    const built =
      image === null
        ? null
        : await engine.builtFrom(image, read.platforms[0] ?? null, {
            signal,
            emit,
            session: sessionOf(null),
          });
    if (image !== null && built === null && given !== null)
      complain(`WARNING: ${image.shown} has no provenance: it is built as the flags say\n`);
    const where = await contextOf(image, built, given, {
      ...{ file: flags.one("file"), cwd, signal },
      tempDir: () => (scratch ??= mkdtempSync(join(engine.store.tempDir(), "stdin-"))),
    });
    const lock = await lockOfBuild(flags, where, { cwd, signal });
    const path = where.context.kind === "directory" ? where.context.path : null;
    const request = buildRequest({
      ...asked,
      ...(built === null ? {} : withProvenance(asked, built)),
      ...where,
      reproducible: flags.has("reproducible") ? flags.bool("reproducible") : true,
      session: sessionOf(path),
      lock: lock?.terms ?? null,
      signaturePolicy: await readPolicyFlag(flags, caller),
    });
    const varied = vary(readSame(flags.all("same")), { isBuiltIn: request.ociRuntime === null });
    const lockFile = lock?.terms.mode === "add" ? lock.file : null;
    return { request, varied, session: sessionOf, lockFile, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

type Where = Pick<BuildRequest, "context" | "dockerfile">;

/** The context that was given, or else the one that provenance names. */
async function contextOf(
  image: Subject | null,
  built: BuiltImageFrom | null,
  given: string | null,
  options: {
    readonly file: string | null;
    readonly cwd: string;
    readonly signal: AbortSignal;
    readonly tempDir: () => string;
  },
): Promise<Where> {
  const { file, ...rest } = options;
  const how = { ...rest, stdin: () => process.stdin };
  const name = file ?? (built?.args["filename"] || null);
  if (given !== null) return await resolveContext(given, file, how);
  const shown = image?.shown ?? "";
  if (built === null)
    throw new BuildError("USAGE", `${shown} has no provenance that says how it was built`, {
      hint: "give the context it was built from: tsbuild verify IMAGE PATH",
    });
  if (built.context !== null) return await resolveContext(pinned(built.context), name, how);
  if (!built.locals.includes(MAIN_DIRECTORY) && built.dockerfile !== null)
    return {
      context: { kind: "empty" },
      dockerfile: { kind: "bytes", data: Buffer.from(built.dockerfile.text) },
    };
  throw new BuildError("USAGE", `${shown} was built from a directory, which its provenance does not have`, {
    hint: "give that directory: tsbuild verify IMAGE PATH",
  });
}

/** A repository at the commit it was built from. */
function pinned({ url, digest }: { readonly url: string; readonly digest: string | null }): string {
  const commit = /^(?:sha1|sha256):([a-f0-9]{40,64})$/.exec(digest ?? "")?.[1];
  const [address = "", fragment = ""] = url.split(/#(.*)/s);
  const isRepository =
    /^(?:git|ssh):|\.git$|@[^/]+:/.test(address) || fragment !== "" || digest?.startsWith("sha1:") === true;
  if (commit === undefined || !isRepository) return url;
  const directory = fragment.split(":")[1];
  return `${address}#${commit}${directory === undefined ? "" : `:${directory}`}`;
}

/** Arguments, labels, target and platform as provenance has them, where flags say nothing else; images by the digests they had. */
function withProvenance(
  asked: Pick<BuildRequest, "buildArgs" | "labels" | "target" | "platforms" | "sourcePolicies">,
  { args, images, platform }: BuiltImageFrom,
): Pick<BuildRequest, "buildArgs" | "labels" | "target" | "platforms" | "sourcePolicies"> {
  const under = (prefix: string): (readonly [string, string])[] =>
    Object.entries(args).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [],
    );
  return {
    buildArgs: new Map([...under("build-arg:"), ...asked.buildArgs]),
    labels: new Map([...under("label:"), ...asked.labels]),
    target: asked.target ?? (args["target"] || null),
    platforms: asked.platforms.length > 0 ? asked.platforms : [platform],
    sourcePolicies: [...asked.sourcePolicies, ...policyOf(images)],
  };
}

/** Tags stand for what they stood for then. */
function policyOf(images: BuiltImageFrom["images"]): readonly SourcePolicy[] {
  const rules = images.flatMap(({ reference, digest }) => {
    const name = withDefaultTag(parseReference(reference));
    if (name.digest !== null) return [];
    const identifier = `docker-image://${formatReference(name)}`;
    return [
      {
        action: "CONVERT" as const,
        selector: { identifier, matchType: "EXACT" as const, constraints: [] },
        updates: { identifier: `${identifier}@${digest}`, attrs: {} },
      },
    ];
  });
  return rules.length === 0 ? [] : [{ rules }];
}
