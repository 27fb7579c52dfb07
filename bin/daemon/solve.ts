// One call of the Dockerfile frontend for a build: the engine builds up to the graph, and goes on when the client returns the result.

import type { CallAnswer, Engine } from "../engine/request.ts";
import { renderCall } from "../call-output.ts";
import type { Converted } from "../../frontend/contract.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import { type Attributes, requestOf } from "./build-request.ts";
import type { Build, Promised } from "./builds.ts";
import { CODE, RpcError } from "../wire/status.ts";

export interface SolveDeps {
  readonly engine: Engine;
  readonly allowed: ReadonlySet<string>;
}

/** What a frontend call comes to: a graph to be returned, or the answer of a question about the Dockerfile. */
export type Solved =
  | { readonly kind: "graph"; readonly converted: Converted; readonly promised: Promised }
  | { readonly kind: "answer"; readonly metadata: ReadonlyMap<string, Uint8Array> };

/** Throws RpcError, BuildError. */
export async function solveDockerfile(
  build: Build,
  options: Attributes,
  { engine, allowed }: SolveDeps,
): Promise<Solved> {
  const { session, status } = build;
  if (session === null) throw new RpcError(CODE.UNKNOWN, "a build of a Dockerfile needs a session");
  const request = requestOf(build.request, options, session, allowed);
  const controller = new AbortController();
  const signal = AbortSignal.any([build.signal, controller.signal]);
  let proceed = (): void => {};
  const returned = new Promise<void>((resolve, reject) => {
    proceed = resolve;
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
  returned.catch(() => {}); // nobody may wait for it yet
  let onGraph = (_converted: Converted): void => {};
  const graph = new Promise<Converted>((resolve) => {
    onGraph = resolve;
  });
  const outcome = engine.build(request, {
    signal,
    emit: (event) => status.event(event),
    onSource(source) {
      build.source = source;
      status.source(source);
    },
    async onConverted(converted) {
      onGraph(converted);
      await returned;
    },
  });
  outcome.catch(() => {}); // told by who waits for it
  const first = await Promise.race([graph, outcome]);
  if ("answer" in first) {
    if (first.answer === null) throw new Error("a build ended before it had a graph");
    return { kind: "answer", metadata: answerOf(first.answer, request.call) };
  }
  const cancel = (): void => controller.abort(new RpcError(CODE.CANCELLED, "the result was not returned"));
  return { kind: "graph", converted: first, promised: { proceed, cancel, outcome } };
}

/** The metadata of a result, as dockerfile.v0 gives it. */
export function metadataOf({ images, multiPlatform }: Converted): Map<string, Uint8Array> {
  const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
  const platforms = images.map(({ platform }) => ({ ID: formatPlatform(platform), Platform: platform }));
  const metadata = new Map<string, Uint8Array>([["refs.platforms", json({ Platforms: platforms })]]);
  for (const { platform, config } of images) {
    const suffix = multiPlatform ? `/${formatPlatform(platform)}` : "";
    metadata.set(`containerimage.config${suffix}`, json(config));
  }
  return metadata;
}

function answerOf(answer: CallAnswer, call: Parameters<typeof renderCall>[1]): Map<string, Uint8Array> {
  const asJson = renderCall(answer, { ...call, format: "json" });
  const asText = renderCall(answer, { ...call, format: "text" });
  return new Map([
    ["result.json", Buffer.from(asJson.text)],
    ["result.txt", Buffer.from(asText.text)],
    ["result.statuscode", Buffer.from(String(asJson.exitCode))],
    ["version", Buffer.from("1.0.0")],
  ]);
}
