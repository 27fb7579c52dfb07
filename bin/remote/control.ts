// The builder's calls as this command makes them: who it is, a build with its progress, and questions to the frontend by the gateway.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ClientHttp2Session } from "node:http2";
import { printable } from "../../solver/graph/error.ts";
import { callUnary, openCall } from "../wire/client.ts";
import {
  InfoRequestSchema,
  InfoResponseSchema,
  ListWorkersRequestSchema,
  ListWorkersResponseSchema,
  type SolveRequest,
  SolveRequestSchema,
  SolveResponseSchema,
  type StatusResponse,
  StatusRequestSchema,
  StatusResponseSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import {
  PingRequestSchema,
  PongResponseSchema,
  type Result,
  ReturnRequestSchema,
  ReturnResponseSchema,
  SolveRequestSchema as BridgeSolveRequestSchema,
  SolveResponseSchema as BridgeSolveResponseSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import type { Policy } from "../wire/messages/moby/buildkit/v1/sourcepolicy/policy_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Attributes } from "./solve-request.ts";

const CONTROL = "/moby.buildkit.v1.Control";
const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";

const METHODS = {
  info: { path: `${CONTROL}/Info`, input: InfoRequestSchema, output: InfoResponseSchema },
  workers: {
    path: `${CONTROL}/ListWorkers`,
    input: ListWorkersRequestSchema,
    output: ListWorkersResponseSchema,
  },
  solve: { path: `${CONTROL}/Solve`, input: SolveRequestSchema, output: SolveResponseSchema },
  ping: { path: `${BRIDGE}/Ping`, input: PingRequestSchema, output: PongResponseSchema },
  bridgeSolve: {
    path: `${BRIDGE}/Solve`,
    input: BridgeSolveRequestSchema,
    output: BridgeSolveResponseSchema,
  },
  return: { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
} as const;

interface CallOptions {
  readonly signal: AbortSignal;
}

/** Who the builder is. Both empty for daemons that are too old to say. */
export interface BuilderInfo {
  readonly name: string;
  readonly version: string;
}

export async function builderInfo(http: ClientHttp2Session, options: CallOptions): Promise<BuilderInfo> {
  try {
    const { buildkitVersion } = await callUnary(http, METHODS.info, create(InfoRequestSchema), options);
    const { package: name = "", version = "" } = buildkitVersion ?? {};
    return { name: printable(name), version: printable(version) };
  } catch (error) {
    if (error instanceof RpcError && error.code === CODE.UNIMPLEMENTED) return { name: "", version: "" };
    throw error;
  }
}

/** Is it tsbuildd, which understands more than BuildKit's words? */
export function isOurs({ name }: BuilderInfo): boolean {
  return name === "tsbuild";
}

/** The workers of a builder, with their platforms. */
export async function listWorkers(
  http: ClientHttp2Session,
  options: CallOptions,
): Promise<readonly { readonly id: string; readonly platforms: readonly string[] }[]> {
  const { record } = await callUnary(http, METHODS.workers, create(ListWorkersRequestSchema), options);
  return record.map(({ ID, platforms }) => ({
    id: printable(ID),
    platforms: platforms.map(({ OS, Architecture, Variant }) =>
      printable([OS, Architecture, Variant].filter((part) => part !== "").join("/")),
    ),
  }));
}

/** What a build comes to: texts by the names of exporters' responses. Throws RpcError. */
export async function solve(
  http: ClientHttp2Session,
  request: Partial<Omit<SolveRequest, "$typeName">>,
  options: CallOptions,
): Promise<Readonly<Record<string, string>>> {
  const message = create(SolveRequestSchema, request);
  return (await callUnary(http, METHODS.solve, message, options)).ExporterResponse;
}

/** All progress of a build until its end. */
export async function* statusOf(
  http: ClientHttp2Session,
  Ref: string,
  { signal }: CallOptions,
): AsyncGenerator<StatusResponse, void, undefined> {
  const call = openCall(http, `${CONTROL}/Status`, { signal });
  await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref })));
  call.end();
  for await (const bytes of call.messages()) yield fromBinary(StatusResponseSchema, bytes);
}

/** A build by its name, that of its session, and what its sources must pass. */
export type InsideBuild = Pick<SolveRequest, "Ref" | "Session"> & { readonly SourcePolicy?: Policy };

/** Runs `ask` while a build is open that exists for it only: BuildKit answers questions to a frontend inside of one. */
async function insideBuild<T>(
  http: ClientHttp2Session,
  build: InsideBuild,
  { signal }: CallOptions,
  ask: (
    metadata: Readonly<Record<string, string>>,
  ) => Promise<{ readonly answer: T; readonly result: Result | null }>,
): Promise<T> {
  const built = solve(http, { ...build, Internal: true }, { signal });
  built.catch(() => {}); // told below
  const metadata = { "buildkit-controlapi-buildid": build.Ref };
  const asking = (async () => {
    const { answer, result } = await ask(metadata);
    const message = create(ReturnRequestSchema, result === null ? { result: EMPTY } : { result });
    await callUnary(http, METHODS.return, message, { signal, metadata });
    return answer;
  })();
  asking.catch(() => {});
  // A build that cannot begin ends before there is an answer.
  await Promise.race([asking, built]);
  const answer = await asking;
  await built;
  return answer;
}
const EMPTY = {
  result: { case: "ref", value: { $typeName: "moby.buildkit.v1.frontend.Ref", id: "" } },
} as const;

/** The ids of what the builder's solver can do. */
export function capabilities(
  http: ClientHttp2Session,
  build: InsideBuild,
  options: CallOptions,
): Promise<ReadonlySet<string>> {
  return insideBuild(http, build, options, async (metadata) => {
    const { LLBCaps } = await callUnary(http, METHODS.ping, create(PingRequestSchema), {
      ...options,
      metadata,
    });
    return { answer: new Set(LLBCaps.filter(({ Enabled }) => Enabled).map(({ ID }) => ID)), result: null };
  });
}

/** The metadata of a frontend's answer to `requestid`. */
export function subrequest(
  http: ClientHttp2Session,
  build: InsideBuild,
  FrontendOpt: Attributes,
  options: CallOptions,
): Promise<Readonly<Record<string, Uint8Array>>> {
  return insideBuild(http, build, options, async (metadata) => {
    const message = create(BridgeSolveRequestSchema, {
      Frontend: "dockerfile.v0",
      FrontendOpt: { ...FrontendOpt },
      allowResultReturn: true,
      allowResultArrayRef: true,
    });
    const { result } = await callUnary(http, METHODS.bridgeSolve, message, { ...options, metadata });
    return { answer: result?.metadata ?? {}, result: result ?? null };
  });
}
