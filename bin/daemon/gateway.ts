// LLBBridge: how a client that drives the frontend itself (buildx, buildctl) has a build made.

import { create } from "@bufbuild/protobuf";
import type { SourceMetadata } from "../engine/request.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Platform as PlatformMessage } from "../wire/messages/pb/ops_pb.ts";
import type { Platform } from "../../solver/graph/op.ts";
import { normalizePlatform } from "../../solver/graph/platform.ts";
import { type Handlers, unary } from "../wire/server.ts";
import { APICapSchema } from "../wire/messages/moby/buildkit/v1/apicaps/caps_pb.ts";
import {
  EvaluateRequestSchema,
  EvaluateResponseSchema,
  InputsRequestSchema,
  InputsResponseSchema,
  PingRequestSchema,
  PongResponseSchema,
  ResolveImageConfigRequestSchema,
  ResolveImageConfigResponseSchema,
  ResolveSourceMetaRequestSchema,
  type ResolveSourceMetaResponse,
  ResolveSourceMetaResponseSchema,
  RefSchema,
  type Result,
  ResultSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
  SolveRequestSchema,
  SolveResponseSchema,
  WarnRequestSchema,
  WarnResponseSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { SourceOpSchema } from "../wire/messages/pb/ops_pb.ts";
import type { WorkerRecord } from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { timestamp } from "../wire/timestamp.ts";
import { type BuildOf, openBridgeCalls } from "./bridge-calls.ts";
import type { Build, Builds } from "./builds.ts";
import { FRONTEND_CAPS, LLB_CAPS } from "./caps.ts";
import { containerHandlers } from "./gateway-containers.ts";
import { fileHandlers, SERVICE } from "./gateway-files.ts";
import { idsOf } from "./results.ts";
import { type Solved, solveCall } from "./solve.ts";

const BUILD_HEADER = "buildkit-controlapi-buildid";

/** The gateway of the builds that clients name in a header. */
export function gatewayHandlers(builds: Builds, workers: () => readonly WorkerRecord[]): Handlers {
  return bridgeHandlers(async (call) => {
    const [id = ""] = call.header(BUILD_HEADER);
    if (id === "") throw new RpcError(CODE.UNKNOWN, "no buildid found in context");
    return await builds.running(id, call.signal);
  }, workers);
}

/** The methods of LLBBridge for the builds that `buildOf` finds. */
export function bridgeHandlers(buildOf: BuildOf, workers: () => readonly WorkerRecord[]): Handlers {
  const onBridge = openBridgeCalls(buildOf);
  return new Map([
    ...containerHandlers(buildOf, onBridge),
    ...fileHandlers("", (call, { id, path }, question) =>
      onBridge(call, (bridge, build) => bridge.look(build.results.get(id), path, question)),
    ),
    [
      `${SERVICE}/Ping`,
      unary(PingRequestSchema, PongResponseSchema, async (_, call) => {
        await buildOf(call);
        const caps = (ids: readonly string[]) => ids.map((ID) => create(APICapSchema, { ID, Enabled: true }));
        return create(PongResponseSchema, {
          FrontendAPICaps: caps(FRONTEND_CAPS),
          LLBCaps: caps(LLB_CAPS),
          Workers: [...workers()],
        });
      }),
    ],
    [
      `${SERVICE}/Solve`,
      unary(SolveRequestSchema, SolveResponseSchema, (message, call) =>
        onBridge(call, async (bridge, build) => {
          const id = build.session?.id ?? "";
          const solved = await solveCall(build, bridge, {
            definition: message.Definition,
            frontend: message.Frontend,
            options: message.FrontendOpt,
            inputs: message.FrontendInputs,
            imports: message.CacheImports,
          });
          const result = resultOf(solved, build, id);
          if (message.Evaluate)
            await Promise.all(idsOf(result).map((one) => bridge.evaluate(build.results.get(one))));
          // Frontends of old return their result with the call that made it.
          if (message.Final) build.finish(result);
          if (message.allowResultReturn) return create(SolveResponseSchema, { result });
          return create(SolveResponseSchema, {
            ref: result.result.case === "ref" ? result.result.value.id : "",
          });
        }),
      ),
    ],
    [
      `${SERVICE}/Return`,
      unary(ReturnRequestSchema, ReturnResponseSchema, async ({ result, error }, call) => {
        const build = await buildOf(call);
        if (error !== undefined && error.code !== 0)
          build.fail(new RpcError(error.code, error.message, error.details));
        else build.finish(result);
        return create(ReturnResponseSchema);
      }),
    ],
    [
      `${SERVICE}/Evaluate`,
      unary(EvaluateRequestSchema, EvaluateResponseSchema, (message, call) =>
        onBridge(call, async (bridge, build) => {
          await bridge.evaluate(build.results.get(message.Ref));
          return create(EvaluateResponseSchema);
        }),
      ),
    ],
    [
      `${SERVICE}/ResolveImageConfig`,
      unary(ResolveImageConfigRequestSchema, ResolveImageConfigResponseSchema, (message, call) =>
        onBridge(call, async (bridge) => {
          const isLayout = message.ResolverType === 1;
          const source = {
            kind: "source",
            identifier: `${isLayout ? "oci-layout" : "docker-image"}://${message.Ref}`,
            attrs: {
              ...modeOf(message.ResolveMode),
              ...(isLayout ? { "oci.store": message.StoreID, "oci.session": message.SessionID } : {}),
            },
          } as const;
          const found = await bridge.resolveSource(source, {
            platform: platformOf(message.Platform),
            name: nameOf(message.LogName, message.Ref),
            gitObjects: false,
          });
          if (found.kind !== "image") throw new Error("an image is an image");
          const { digest, config } = found.image;
          return create(ResolveImageConfigResponseSchema, {
            Digest: digest,
            Config: config,
            Ref: message.Ref,
          });
        }),
      ),
    ],
    [
      `${SERVICE}/ResolveSourceMeta`,
      unary(ResolveSourceMetaRequestSchema, ResolveSourceMetaResponseSchema, (message, call) =>
        onBridge(call, async (bridge) => {
          const { identifier = "", attrs = {} } = message.Source ?? {};
          const source = {
            kind: "source",
            identifier,
            attrs: { ...attrs, ...modeOf(message.ResolveMode) },
          } as const;
          const found = await bridge.resolveSource(source, {
            platform: platformOf(message.Platform),
            name: nameOf(message.LogName, identifier.replace(/^[a-z-]+:\/\//, "")),
            gitObjects: message.Git?.ReturnObject === true,
          });
          return metadataMessage({ identifier, attrs }, found, message.Image?.NoConfig === true);
        }),
      ),
    ],
    [
      `${SERVICE}/Inputs`,
      unary(InputsRequestSchema, InputsResponseSchema, async (_, call) => {
        const { request } = await buildOf(call);
        return create(InputsResponseSchema, { Definitions: request.FrontendInputs });
      }),
    ],
    [
      `${SERVICE}/Warn`,
      unary(WarnRequestSchema, WarnResponseSchema, async (message, call) => {
        const build = await buildOf(call);
        build.status.warning(message);
        return create(WarnResponseSchema);
      }),
    ],
  ]);
}

/** What a solve came to, with ids for its files. */
function resultOf(solved: Solved, { results }: Build, session: string): Result {
  switch (solved.kind) {
    case "images":
      return results.message(solved.result, session);
    case "returned":
      return solved.result ?? create(ResultSchema);
    case "ref": {
      // Nothing has no id: clients take a result with one for a directory that can be looked into.
      const isNothing = solved.ref.definition.root === null;
      const value = isNothing ? create(RefSchema, { id: "" }) : results.add(solved.ref, session);
      return create(ResultSchema, { result: { case: "ref", value } });
    }
    case "answer":
      return create(ResultSchema, {
        metadata: Object.fromEntries(solved.metadata),
        result: { case: "ref", value: create(RefSchema, { id: "" }) },
      });
  }
}

function metadataMessage(
  { identifier, attrs }: { readonly identifier: string; readonly attrs: Record<string, string> },
  found: SourceMetadata,
  noConfig: boolean,
): ResolveSourceMetaResponse {
  const Source = create(SourceOpSchema, { identifier, attrs });
  switch (found.kind) {
    case "image": {
      const { digest, config } = found.image;
      if (!identifier.includes("@")) Source.identifier = `${identifier}@${digest}`;
      const Image = { Digest: digest, Config: noConfig ? NOTHING : config };
      return create(ResolveSourceMetaResponseSchema, { Source, Image });
    }
    case "git": {
      const { object, commit, name, commitObject, tagObject } = found.git;
      const Git = {
        Checksum: object,
        Ref: name,
        CommitChecksum: commit === object ? "" : commit,
        CommitObject: commitObject ?? NOTHING,
        TagObject: tagObject ?? NOTHING,
      };
      return create(ResolveSourceMetaResponseSchema, { Source, Git });
    }
    case "http": {
      const { digest: Checksum, filename: Filename, modifiedSeconds: seconds } = found;
      const LastModified = seconds === null ? {} : { LastModified: timestamp(seconds * 1000) };
      return create(ResolveSourceMetaResponseSchema, {
        Source,
        HTTP: { Checksum, Filename, ...LastModified },
      });
    }
    case "other":
      return create(ResolveSourceMetaResponseSchema, { Source });
  }
}

const NOTHING = new Uint8Array(0);

function modeOf(mode: string): Record<string, string> {
  return mode === "" || mode === "default" ? {} : { "image.resolvemode": mode };
}

function nameOf(logName: string, reference: string): string {
  return logName === "" ? `resolve image config for ${printable(reference)}` : logName;
}

/** Throws INVALID_ARGUMENT. */
function platformOf(message: PlatformMessage | undefined): Platform | null {
  if (message === undefined || message.OS === "") return null;
  const { OS: os, Architecture: architecture, Variant: variant, OSVersion: osVersion } = message;
  if (architecture === "")
    throw new BuildError("USAGE", `a platform of ${printable(os)} needs an architecture`);
  return normalizePlatform({ os, architecture, variant, ...(osVersion === "" ? {} : { osVersion }) });
}
