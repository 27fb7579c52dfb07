// Exporters that a client names when its build has been made: BuildKit's session exporter (moby.exporter.v1). The client may look into the
// results first, and is told what came of them.

import type { Bridge, BridgeResult } from "../engine/bridge-contract.ts";
import type { Output } from "../../exporters/output-grammar.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { exportersOf, outputOf } from "./build-request.ts";
import type { Build } from "./builds.ts";

/** Exporters of one build beside those of the request. */
const EXPORTERS_MAX = 100;

/** The outputs that the client wants of a result, whose steps run first. Throws RpcError, BuildError. */
export async function findOutputs(
  build: Build,
  bridge: Bridge,
  result: BridgeResult,
  metadata: Readonly<Record<string, Uint8Array>>,
): Promise<readonly Output[]> {
  const { request, session, results, signal } = build;
  if (session === null) throw new RpcError(CODE.INVALID_ARGUMENT, "a session exporter needs a session");
  await Promise.all(result.images.map(({ ref }) => bridge.evaluate(ref)));
  const refs = result.images.map(({ ref }) => results.add(ref, session.id).id);
  const found = await session.findExporters({ metadata: { ...metadata }, refs }, { signal });
  if (found.length > EXPORTERS_MAX)
    throw new RpcError(CODE.RESOURCE_EXHAUSTED, `a build has no more than ${EXPORTERS_MAX} exporters`);
  // They are numbered behind those of the request: under these numbers the client takes what they make.
  const count = exportersOf(request).length;
  return found.map(({ Type, Attrs }, index) => outputOf(Type, Attrs, count + index));
}
