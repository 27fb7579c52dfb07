// Builds on this machine whose file may be for a frontend in an image (--allow-frontend): the Dockerfile frontend of this process reads the
// file first, and only one that asks for another loads what runs images.

import { closeSync, readSync } from "node:fs";
import { openRegularFile } from "../cache/outside.ts";
import { ForeignFrontend, type SyntaxWish } from "../frontend/frontend.ts";
import { isDigest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { ClientBlobs, Session } from "../solver/graph/session.ts";
import type { BuildReport, BuildRequest, EngineBuildOptions } from "./engine/request.ts";
import type { Engine } from "./engine/contract.ts";
import type { Bridge } from "./engine/bridge-contract.ts";
import { EMPTY_REPORT } from "./engine/request.ts";
import type { FrontendPlan } from "./remote/plan.ts";
import { packageVersion } from "./version.ts";

const CHUNK_BYTES = 1 << 20;

export interface FrontendBuildOptions {
  /** Repositories that frontends may be from; empty: any. */
  readonly repositories: readonly string[];
  /** A private directory, removed by who owns it. */
  readonly tempDir: () => string;
}

/** Builds as Engine.build, with the frontend that the file asks for. Throws BuildError, signal.reason. */
export async function buildWithFrontends(
  engine: Engine,
  request: BuildRequest,
  options: EngineBuildOptions,
  { repositories, tempDir }: FrontendBuildOptions,
): Promise<BuildReport> {
  const wish = { current: null as SyntaxWish | null };
  const plain = await engine.build(request, options).catch((error: unknown) => {
    if (!(error instanceof ForeignFrontend)) throw error;
    wish.current = error.wish;
    return null;
  });
  if (plain !== null) return plain;
  return await buildForeign(engine, request, options, {
    wish: wish.current as SyntaxWish,
    repositories,
    tempDir,
  });
}

async function buildForeign(
  engine: Engine,
  request: BuildRequest,
  options: EngineBuildOptions,
  { wish, repositories, tempDir }: FrontendBuildOptions & { readonly wish: SyntaxWish },
): Promise<BuildReport> {
  const [{ ownSession, runFrontend }, { planFrontend }, { newId }, { CODE, RpcError }] = await Promise.all([
    import("./daemon/own-build.ts"),
    import("./remote/plan.ts"),
    import("./remote/session-server.ts"),
    import("./wire/status.ts"),
  ]);
  const { signal, emit, onSource } = options;
  const plan = await planFrontend(request, { tempDir });
  const session = ownSession(newId(), sessionFor(request.session, plan));
  const { name } = request.call;
  const work = async (bridge: Bridge): Promise<BuildReport> => {
    const { callAnswer, requestId } = await import("./remote/answer.ts");
    const asked = name === "build" ? {} : { requestid: requestId(name) };
    const { result, metadata } = await runFrontend(wish, {
      ...{ bridge, session, repositories, version: packageVersion(), signal, emit, onSource },
      attributes: { ...plan.attributes, ...asked },
      allow: request.allow,
      cacheFrom: request.cacheFrom,
    });
    if (name !== "build") return { ...EMPTY_REPORT, answer: callAnswer(name, metadata["result.json"]) };
    return result === null ? EMPTY_REPORT : await bridge.export(result);
  };
  try {
    return await engine.drive({ ...request, session }, options, work);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof RpcError)) throw error;
    if (error.code === CODE.PERMISSION_DENIED)
      throw new BuildError("DOCKERFILE_UNSUPPORTED", error.message, {
        at: wish.at,
        cause: error,
        hint: "name its repository with --allow-frontend",
      });
    const { buildFailure } = await import("./remote/failure.ts");
    throw buildFailure(error, {
      onSource,
      stepOf: (vertex) => (isDigest(vertex) ? vertex : null),
      isOurs: true,
    });
  }
}

/** The user's session with the directories and layouts that the frontend was told of. */
function sessionFor(session: Session, { directories, layouts, upload }: FrontendPlan): Session {
  return {
    ...session,
    async files(name) {
      const known = directories.get(name);
      return known === undefined ? await session.files(name) : { kind: "here", path: known.path };
    },
    async blobs(store): Promise<ClientBlobs> {
      const known = layouts.get(`oci:${store}`);
      if (known === undefined) throw new BuildError("CONTEXT_MISSING", `no OCI layout ${store} was given`);
      return { kind: "here", path: known.path };
    },
    ...(upload === null
      ? {}
      : {
          async *upload({ pathname }: URL) {
            if (pathname.replace(/^\/+/, "") !== upload.urlPath)
              throw new BuildError("CONTEXT_MISSING", "nothing is uploaded there");
            const fd = openRegularFile(upload.file);
            try {
              for (;;) {
                const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
                const count = readSync(fd, buffer, 0, buffer.length, null);
                if (count === 0) return;
                yield buffer.subarray(0, count);
              }
            } finally {
              closeSync(fd);
            }
          },
        }),
  };
}
