// What a Solve asks of a frontend, or of a graph, and what a gateway's Solve does; answered by the bridge of the build.

import type { CallAnswer } from "../engine/request.ts";
import type { BridgeResult, Bridge, Ref } from "../engine/bridge-contract.ts";
import { renderCall } from "../call-output.ts";
import type { FrontendInput } from "../../frontend/contract.ts";
import { ForeignFrontend } from "../../frontend/frontend.ts";
import type { Result } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { BuildError, locate, printable } from "../../solver/graph/error.ts";
import type { Definition as DefinitionMessage } from "../wire/messages/pb/ops_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Attributes } from "./attributes.ts";
import { cacheImports, requestOf } from "./build-request.ts";
import { type Build, GRAPHS_MAX } from "./builds.ts";
import { definitionIn } from "./definitions.ts";
import { frontendName } from "./metering.ts";
import { idsOf } from "./results.ts";
import type { SolveCall } from "./solve-call.ts";
import { viewOf } from "./session-view.ts";
import { checkCaps, describeSubrequests, VERSION } from "./subrequests.ts";

/** What it comes to: the images of a frontend, a graph's result, or the answer of a question about a Dockerfile. */
export type Solved =
  | { readonly kind: "images"; readonly result: BridgeResult }
  | { readonly kind: "ref"; readonly ref: Ref }
  /** What a frontend in an image has returned. */
  | { readonly kind: "returned"; readonly result: Result | undefined }
  | { readonly kind: "answer"; readonly metadata: ReadonlyMap<string, Uint8Array> };

/** Throws RpcError, BuildError. */
export async function solveCall(build: Build, bridge: Bridge, call: SolveCall): Promise<Solved> {
  const { definition, frontend, options } = call;
  build.frontend = frontendName(frontend, options) ?? build.frontend;
  if (frontend === "") {
    const cacheFrom = build.cacheFrom ?? cacheImports(call.imports, {}, build.session);
    const graph =
      definition === undefined
        ? { vertices: new Map(), notes: new Map(), root: null }
        : definitionIn(definition);
    remember(build, graph);
    return {
      kind: "ref",
      ref: await bridge.define(graph, { cacheFrom, sourcePolicies: call.sourcePolicies }),
    };
  }
  if (definition !== undefined && definition.def.length > 0)
    throw new RpcError(CODE.INVALID_ARGUMENT, "a solve has either a definition or a frontend");
  if (!isDockerfile(frontend, options)) {
    if (frontend !== "gateway.v0")
      throw new RpcError(
        CODE.UNIMPLEMENTED,
        `the frontend ${printable(frontend)} is not supported by tsbuildd`,
      );
    return { kind: "returned", result: await frontendResult(build, call) };
  }
  if (!build.frontends.dockerfile)
    throw new RpcError(CODE.PERMISSION_DENIED, "dockerfile.v0 is switched off on this builder");
  checkCaps(options);
  const described = describeSubrequests(options);
  if (described !== null) return { kind: "answer", metadata: described };
  if (build.session === null) throw new RpcError(CODE.UNKNOWN, "a build of a Dockerfile needs a session");
  const inputs = inputsOf(call.inputs, options);
  for (const { definition: input } of inputs.values()) remember(build, input);
  const session = viewOf(build.session, options);
  const { cacheFrom } = build;
  const request = requestOf(build.request, { options, inputs, imports: call.imports, session, cacheFrom });
  const outcome = await bridge.dockerfile(request).catch((error: unknown) => {
    if (error instanceof ForeignFrontend) return { kind: "foreign", wish: error.wish } as const;
    throw error;
  });
  if (outcome.kind === "foreign") {
    // The file says by which frontend it is to be read.
    const { image: source, cmdline, at } = outcome.wish;
    const foreign = { ...call, frontend: "gateway.v0", options: { ...options, source, cmdline } };
    const result = await frontendResult(build, foreign).catch((error: unknown) => {
      throw error instanceof BuildError ? locate(error, at, null) : error; // the line that names it
    });
    return { kind: "returned", result };
  }
  if (outcome.kind === "answer") return { kind: "answer", metadata: answerOf(outcome.answer, request.call) };
  for (const { ref } of outcome.result.images) remember(build, ref.definition);
  return { kind: "images", result: outcome.result };
}

/** What a frontend in an image returns. */
async function frontendResult(build: Build, call: SolveCall): Promise<Result | undefined> {
  const result = await build.frontends.image(build, call);
  build.results.madeBy({ frontend: call.frontend, args: call.options }, idsOf(result));
  return result;
}

/** For errors, which say where in its files a step is. */
export function remember({ graphs }: Build, graph: Definition): void {
  if (graphs.length < GRAPHS_MAX) graphs.push(graph);
}

/** Docker's own frontend, under its name or that of its image, is the one of this process. */
function isDockerfile(frontend: string, options: Attributes): boolean {
  if (frontend === "dockerfile.v0") return true;
  if (frontend !== "gateway.v0") return false;
  const source = options["source"] ?? "";
  return (
    source === "dockerfile.v0" || /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@]|$)/.test(source)
  );
}

/** Results of other builds that contexts refer to, with the configs their metadata holds. */
function inputsOf(
  messages: Readonly<Record<string, DefinitionMessage>>,
  options: Attributes,
): ReadonlyMap<string, FrontendInput> {
  return new Map(
    Object.entries(messages).map(([name, message]) => {
      if (message.def.length === 0)
        throw new BuildError(
          "USAGE",
          `the input ${printable(name)}: invalid nil input definition to definition op`,
        );
      const metadata = options[`input-metadata:${name}`];
      return [name, { definition: definitionIn(message), config: configIn(name, metadata) }];
    }),
  );
}

function configIn(name: string, metadata: string | undefined): Uint8Array | null {
  if (metadata === undefined) return null;
  try {
    const { "containerimage.config": config } = JSON.parse(metadata) as Readonly<Record<string, unknown>>;
    return typeof config === "string" ? Buffer.from(config, "base64") : null;
  } catch (cause) {
    throw new BuildError("USAGE", `input-metadata:${printable(name)} is not an object`, { cause });
  }
}

function answerOf(answer: CallAnswer, call: Parameters<typeof renderCall>[1]): Map<string, Uint8Array> {
  const asJson = renderCall(answer, { ...call, format: "json" });
  const asText = renderCall(answer, { ...call, format: "text" });
  return new Map([
    ["result.json", Buffer.from(asJson.text)],
    ["result.txt", Buffer.from(asText.text)],
    ["result.statuscode", Buffer.from(String(asJson.exitCode))],
    ["version", Buffer.from(VERSION)],
  ]);
}
