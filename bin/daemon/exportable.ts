// What a frontend has returned, as what is exported.

import { create } from "@bufbuild/protobuf";
import type { Bridge, BridgeResult } from "../engine/bridge-contract.ts";
import { type Result, WarnRequestSchema } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { epochOf } from "./build-request.ts";
import type { Build } from "./builds.ts";
import { platformWarning } from "./result-words.ts";

export interface Exportable {
  /** null: there is nothing to export. */
  readonly result: BridgeResult | null;
  /** What the frontend says of it. */
  readonly metadata: Readonly<Record<string, Uint8Array>>;
}

/** Throws RpcError, BuildError. */
export async function exportableOf(
  build: Build,
  bridge: Bridge,
  message: Result | undefined,
): Promise<Exportable> {
  const { request, status } = build;
  const metadata = message?.metadata ?? {};
  const empty = await bridge.define({ vertices: new Map(), notes: new Map(), root: null }, { cacheFrom: [] });
  const result = build.results.exportable(message, { sourceDateEpoch: epochOf(request), empty });
  const isEmpty = result === null || result.images.every(({ ref }) => ref.definition.root === null);
  const hasExporters = request.Exporters.length > 0 || request.EnableSessionExporter;
  if (isEmpty && (result === null || !hasExporters)) return { result: null, metadata };
  const platforms = result.images.map(({ platform }) => platform);
  const warning = isEmpty ? null : platformWarning(request.FrontendAttrs, platforms, result.multiPlatform);
  if (warning !== null) status.warning(create(WarnRequestSchema, { level: 1n, short: Buffer.from(warning) }));
  return { result, metadata };
}
