// LLBBridge: how a client that drives the frontend itself (buildx, buildctl) has a build made.

import { create } from "@bufbuild/protobuf";
import { randomBytes } from "node:crypto";
import { formatPlatform } from "../../solver/graph/op.ts";
import { type Handlers, unary } from "../wire/server.ts";
import { APICapSchema } from "../wire/messages/moby/buildkit/v1/apicaps/caps_pb.ts";
import {
  PingRequestSchema,
  PongResponseSchema,
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
import type { Build, Builds } from "./builds.ts";
import { statusOf } from "./errors.ts";
import { metadataOf, type SolveDeps, solveDockerfile } from "./solve.ts";

const SERVICE = "/moby.buildkit.v1.frontend.LLBBridge";
const BUILD_HEADER = "buildkit-controlapi-buildid";

/** Only what works is announced: clients ask for nothing else. */
const FRONTEND_CAPS = [
  "solve.base",
  "return",
  "returnmap",
  "proto.refarray",
  "reference.output",
  "gateway.solve.metadata",
  "importcaches",
  "frontend.caps",
];
const LLB_CAPS = ["exporter.image.annotations", "exporter.sourcedateepoch", "exporter.multiple"];

export function gatewayHandlers(
  builds: Builds,
  workers: () => readonly WorkerRecord[],
  deps: SolveDeps,
): Handlers {
  const buildOf = async (call: {
    header(name: string): readonly string[];
    signal: AbortSignal;
  }): Promise<Build> => await builds.running(call.header(BUILD_HEADER)[0] ?? "", call.signal);
  return new Map([
    [
      `${SERVICE}/Ping`,
      unary(PingRequestSchema, PongResponseSchema, async () => {
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
      unary(SolveRequestSchema, SolveResponseSchema, async (message, call) => {
        const build = await buildOf(call);
        if (message.Frontend !== "dockerfile.v0")
          throw new RpcError(
            CODE.UNIMPLEMENTED,
            message.Frontend === ""
              ? "definitions are not supported by tsbuildd"
              : `the frontend ${message.Frontend} is not supported by tsbuildd`,
          );
        try {
          const solved = await solveDockerfile(build, message.FrontendOpt, deps);
          return create(SolveResponseSchema, {
            result: solved.kind === "graph" ? resultOf(build, solved) : answered(solved.metadata),
          });
        } catch (error) {
          throw statusOf(error, build.source);
        }
      }),
    ],
    [
      `${SERVICE}/Return`,
      unary(ReturnRequestSchema, ReturnResponseSchema, async ({ result, error }, call) => {
        const build = await buildOf(call);
        if (error !== undefined && error.code !== 0)
          build.fail(new RpcError(error.code, error.message, error.details));
        else build.finish(idIn(result));
        return create(ReturnResponseSchema);
      }),
    ],
    [
      `${SERVICE}/Warn`,
      unary(WarnRequestSchema, WarnResponseSchema, async (message, call) => {
        const build = await buildOf(call);
        build.status.event({
          kind: "warning",
          rule: "",
          message: Buffer.from(message.short).toString(),
          detail: message.detail.map((one) => Buffer.from(one).toString()).join("\n"),
          url: message.url,
          at: [],
        });
        return create(WarnResponseSchema);
      }),
    ],
  ]);
}

/** One id for all platforms of a result: they are built together. */
function resultOf(
  build: Build,
  { converted, promised }: Extract<Awaited<ReturnType<typeof solveDockerfile>>, { kind: "graph" }>,
): Result {
  const id = randomBytes(12).toString("hex");
  build.results.set(id, promised);
  const metadata = Object.fromEntries(metadataOf(converted));
  const refs = Object.fromEntries(
    converted.images.map(({ platform }) => [formatPlatform(platform), create(RefSchema, { id })]),
  );
  return create(ResultSchema, {
    metadata,
    result: converted.multiPlatform
      ? { case: "refs", value: { $typeName: "moby.buildkit.v1.frontend.RefMap", refs } }
      : { case: "ref", value: create(RefSchema, { id }) },
  });
}

function answered(metadata: ReadonlyMap<string, Uint8Array>): Result {
  return create(ResultSchema, {
    metadata: Object.fromEntries(metadata),
    result: { case: "ref", value: create(RefSchema, { id: "" }) },
  });
}

function idIn(result: Result | undefined): string {
  const value = result?.result;
  switch (value?.case) {
    case "ref":
      return value.value.id;
    case "refs":
      return Object.values(value.value.refs)[0]?.id ?? "";
    case "refDeprecated":
      return value.value;
    case "refsDeprecated":
      return Object.values(value.value.refs)[0] ?? "";
    default:
      return "";
  }
}
