// Builds by the names their clients chose. One begins with Control.Solve, is asked about by Status and by the gateway, which may come first, and
// is known for a while after its end.

import type { BuildReport, SourceText } from "../engine/request.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { SolveRequest } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { RemoteSession } from "./remote-session.ts";
import { openStatusStream, type StatusStream } from "./status-stream.ts";
import { openWaiting } from "./waiting.ts";

/** How long Status and gateway calls wait for their build, as in BuildKit. */
export const STATUS_WAIT_MS = 6_000;
export const GATEWAY_WAIT_MS = 3_000;
/** Ended builds that are not in the history, whose progress may be asked for a moment too late. */
const ENDED_MAX = 20;

/** A result that a frontend call has promised: its steps run when the client returns it. */
export interface Promised {
  /** Lets the steps run, and outputs be made. */
  proceed(): void;
  /** Ends it, where it has not been returned. */
  cancel(): void;
  readonly outcome: Promise<BuildReport>;
}

export interface Build {
  readonly request: SolveRequest;
  readonly session: RemoteSession | null;
  readonly status: StatusStream;
  /** Aborts when the client gives up, or its session ends. */
  readonly signal: AbortSignal;
  readonly results: Map<string, Promised>;
  source: SourceText | null;
  /** What each exporter of the request has made; null: no image. */
  exported: readonly (Descriptor | null)[];
  /** What the client returned: the id of a result ("": none), or an error. */
  readonly returned: Promise<string>;
  finish(id: string): void;
  fail(error: RpcError): void;
}

export interface Builds {
  /** Throws RpcError for a name that is in use. */
  begin(request: SolveRequest, session: RemoteSession | null, signal: AbortSignal): Build;
  end(build: Build): void;
  /** Does it run, or has it just ended? */
  isKnown(name: string): boolean;
  /** A build that runs. Throws RpcError NOT_FOUND. */
  running(name: string, signal: AbortSignal): Promise<Build>;
  /** The progress of a build that runs, or that has ended and is not in the history. */
  statusOf(name: string, signal: AbortSignal): Promise<StatusStream>;
}

export function openBuilds(): Builds {
  const running = new Map<string, Build>();
  const ended = new Map<string, StatusStream>();
  const waiting = openWaiting<Build>();
  const wait = (name: string, withinMs: number, signal: AbortSignal): Promise<Build> =>
    waiting.wait(name, {
      ...{ withinMs, signal },
      late: () => new RpcError(CODE.NOT_FOUND, `no such job ${name}`),
    });

  return {
    begin(request, session, signal) {
      const name = request.Ref;
      if (name === "" || running.has(name) || ended.has(name))
        throw new RpcError(CODE.UNKNOWN, `job ID ${name} exists already`);
      let finish: (id: string) => void = () => {};
      let fail: (error: RpcError) => void = () => {};
      const returned = new Promise<string>((resolve, reject) => {
        finish = resolve;
        fail = reject;
      });
      returned.catch(() => {}); // told by Solve
      const build: Build = {
        ...{ request, session, signal, returned, finish, fail },
        status: openStatusStream(),
        results: new Map(),
        source: null,
        exported: [],
      };
      running.set(name, build);
      waiting.arrived(name, build);
      return build;
    },
    end(build) {
      const name = build.request.Ref;
      build.status.end();
      for (const promised of build.results.values()) promised.cancel();
      running.delete(name);
      if (!build.request.Internal) return; // the history has it
      build.status.shrink();
      ended.set(name, build.status);
      const [oldest] = ended.keys();
      if (ended.size > ENDED_MAX && oldest !== undefined) ended.delete(oldest);
    },
    isKnown: (name) => running.has(name) || ended.has(name),
    running: async (name, signal) => running.get(name) ?? (await wait(name, GATEWAY_WAIT_MS, signal)),
    statusOf: async (name, signal) =>
      running.get(name)?.status ?? ended.get(name) ?? (await wait(name, STATUS_WAIT_MS, signal)).status,
  };
}
