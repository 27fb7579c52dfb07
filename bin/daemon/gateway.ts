// LLBBridge: how a client that drives the frontend itself (buildx, buildctl) has a build made.

import { create } from "@bufbuild/protobuf";
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
import type { WorkerRecord } from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { type BuildOf, openBridgeCalls } from "./bridge-calls.ts";
import type { Build, Builds } from "./builds.ts";
import { FRONTEND_CAPS, LLB_CAPS } from "./caps.ts";
import { containerHandlers } from "./gateway-containers.ts";
import { fileHandlers, SERVICE } from "./gateway-files.ts";
import { idsOf } from "./results.ts";
import { type Solved, solveCall } from "./solve.ts";
import {
  imageIn,
  metadataMessage,
  modeOf,
  platformOf,
  questionOf,
  resolveName,
  sourceOf,
} from "./source-meta.ts";
import { policiesIn } from "./source-policies.ts";

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
            sourcePolicies: policiesIn(message.SourcePolicies),
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
          const asked = {
            kind: "source",
            identifier: `${isLayout ? "oci-layout" : "docker-image"}://${message.Ref}`,
            attrs: isLayout ? { "oci.store": message.StoreID, "oci.session": message.SessionID } : {},
          } as const;
          const { source, found } = await bridge.resolveSource(asked, {
            platform: platformOf(message.Platform),
            name: resolveName(message.LogName, message.Ref),
            gitObjects: false,
            resolveMode: modeOf(message.ResolveMode),
            sourcePolicies: policiesIn(message.SourcePolicies),
          });
          const { digest, config } = imageIn(source, found);
          return create(ResolveImageConfigResponseSchema, {
            Digest: digest,
            Config: config,
            Ref: source === asked ? message.Ref : source.identifier.replace(/^[a-z-]+:\/\//, ""),
          });
        }),
      ),
    ],
    [
      `${SERVICE}/ResolveSourceMeta`,
      unary(ResolveSourceMetaRequestSchema, ResolveSourceMetaResponseSchema, (message, call) =>
        onBridge(call, async (bridge) => {
          const asked = sourceOf(message.Source);
          const { source, found } = await bridge.resolveSource(asked, questionOf(message));
          // The name has no digest behind it: clients put together what they build on.
          return metadataMessage(source, found, message.Image?.NoConfig === true);
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
