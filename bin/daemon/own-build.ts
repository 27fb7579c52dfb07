// A build of this process whose file is for a frontend in an image: the one frontend call of a build that no client has asked for over a
// connection. The same gateway serves it, and the session is this machine's.

import { create } from "@bufbuild/protobuf";
import type { CacheFrom } from "../engine/cache-location.ts";
import type { SourceText } from "../engine/request.ts";
import type { Bridge, BridgeResult } from "../engine/bridge-contract.ts";
import type { SyntaxWish } from "../../frontend/frontend.ts";
import type { SourceRange } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { Entitlement } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { SolveRequestSchema } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import type { WarnRequest } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Attributes } from "./attributes.ts";
import { newBuild } from "./builds.ts";
import { exportableOf } from "./exportable.ts";
import { openFrontendImages } from "./frontend-image.ts";
import type { RemoteSession } from "./remote-session.ts";
import { idsOf } from "./results.ts";
import type { StatusStream } from "./status-stream.ts";
import { workerRecord } from "./worker-record.ts";

export interface OwnBuildOptions {
  readonly bridge: Bridge;
  /** That of the bridge's terms. */
  readonly session: RemoteSession;
  /** What a client would send for this build: attributes of dockerfile.v0. */
  readonly attributes: Attributes;
  readonly allow: readonly Entitlement[];
  readonly cacheFrom: readonly CacheFrom[];
  /** Repositories that frontends may be from; empty: any. */
  readonly repositories: readonly string[];
  readonly version: string;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  readonly onSource: (source: SourceText) => void;
}

/** What the frontend came to: null where it gave nothing to export. */
export interface OwnResult {
  readonly result: BridgeResult | null;
  readonly metadata: Readonly<Record<string, Uint8Array>>;
}

/** The session of this machine's user, as the gateway knows sessions. It judges no sources and names no exporters. */
export function ownSession(id: string, session: Session): RemoteSession {
  const none = async (): Promise<never> => {
    throw new RpcError(CODE.UNIMPLEMENTED, "not served by this session");
  };
  return {
    ...session,
    ...{ id, peer: "", gone: new AbortController().signal, quiet: async () => {} },
    other: async (asked) => (asked === id ? session : null),
    upload:
      session.upload ??
      (() => {
        throw new RpcError(CODE.UNIMPLEMENTED, "nothing is uploaded");
      }),
    cache() {
      throw new RpcError(CODE.UNIMPLEMENTED, "not served by this session");
    },
    checkPolicy: none,
    findExporters: async () => [],
    finalizeExport: async () => {},
    [Symbol.dispose]() {},
  };
}

/** Runs the frontend that a file asks for. Throws RpcError, BuildError. */
export async function runFrontend(wish: SyntaxWish, options: OwnBuildOptions): Promise<OwnResult> {
  const { bridge, session, attributes, allow, cacheFrom, repositories, version, signal } = options;
  const settings = { dockerfile: true, gateway: true, gatewayRepositories: repositories };
  const image = openFrontendImages({
    settings: () => settings,
    workers: () => [workerRecord(version, { labels: {}, platforms: null }, null)],
    log: (message) => options.emit({ kind: "note", message }),
  });
  const request = create(SolveRequestSchema, {
    Ref: session.id,
    Session: session.id,
    FrontendAttrs: { ...attributes },
    Entitlements: [...allow],
  });
  const build = newBuild(
    { request, session, signal },
    { frontends: { dockerfile: true, image }, status: statusFor(options), cacheFrom },
  );
  build.opened(bridge);
  const called = { ...attributes, source: wish.image, cmdline: wish.cmdline };
  const returned = await image(build, {
    ...{ definition: undefined, frontend: "gateway.v0", inputs: {}, imports: [], sourcePolicies: [] },
    options: called,
  });
  build.results.madeBy({ frontend: "gateway.v0", args: called }, idsOf(returned));
  return await exportableOf(build, bridge, returned);
}

/** Nobody asks for this build's progress later: it is told at once. */
function statusFor({ emit, onSource }: OwnBuildOptions): StatusStream {
  return {
    event: emit,
    source: onSource,
    warning({ short, detail, url, info, ranges }: WarnRequest) {
      const file = info?.filename ?? "";
      if (info !== undefined) onSource({ file, text: Buffer.from(info.data).toString() });
      const at = ranges.flatMap(({ start, end }): SourceRange[] => {
        const first = start?.line ?? 0;
        const last = Math.max(first, end?.line ?? first);
        if (first <= 0 || file === "") return [];
        return [{ file, start: { line: first, column: 1 }, end: { line: last + 1, column: 1 } }];
      });
      const texts = detail.map((one) => Buffer.from(one).toString());
      const message = Buffer.from(short).toString();
      emit({ kind: "warning", rule: "", message, detail: texts.join("\n"), url, at });
    },
    end() {},
    shrink() {},
    kept: () => [],
    async *read() {},
  };
}
