// Builds by the names their clients chose. One begins with Control.Solve, is asked about by Status and by the gateway, which may come first, and
// is known for a while after its end.

import type { CacheFrom } from "../engine/cache-location.ts";
import type { MakeProvenance, SourceText } from "../engine/request.ts";
import type { Bridge } from "../engine/bridge-contract.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { SolveRequest } from "../wire/messages/moby/buildkit/v1/control_pb.ts";
import type { Result } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { printable } from "../../solver/graph/error.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { RemoteSession } from "./remote-session.ts";
import { openResults, type Results } from "./results.ts";
import { openPromise } from "./open-promise.ts";
import type { SolveCall } from "./solve-call.ts";
import { openStatusStream, type StatusStream } from "./status-stream.ts";
import { openWaiting } from "./waiting.ts";

/** How long Status and gateway calls wait for their build, as in BuildKit. */
export const STATUS_WAIT_MS = 6_000;
export const GATEWAY_WAIT_MS = 3_000;
/** Builds of which it is known that they have ended. */
const ENDED_MAX = 100;
/** A build's Ref. Clients make ones of 25. */
const NAME_MAX_CHARS = 256;

/** Graphs that one build remembers. */
export const GRAPHS_MAX = 10_000;

export interface Build {
  readonly request: SolveRequest;
  readonly session: RemoteSession | null;
  readonly status: StatusStream;
  /** Aborts when the client gives up, or its session ends. */
  readonly signal: AbortSignal;
  readonly results: Results;
  source: SourceText | null;
  /** The frontend that was asked for last, as frontendName(); null: none was. */
  frontend: string | null;
  /** The graphs of what it was asked for, for errors: of no more than GRAPHS_MAX. */
  readonly graphs: Definition[];
  readonly frontends: Frontends;
  /** Caches for all of its steps; null: each call says which. */
  readonly cacheFrom: readonly CacheFrom[] | null;
  /** What each exporter of the request has made; null: no image. */
  exported: readonly (Descriptor | null)[];
  /** Provenance of its results; null: it has none. */
  provenance: MakeProvenance | null;
  /** The engine's side of it; rejects when it ends before there is one. */
  readonly bridge: Promise<Bridge>;
  opened(bridge: Bridge): void;
  /** What the client returned; null: a frontend of old that has none. */
  readonly returned: Promise<Result | undefined>;
  finish(result: Result | undefined): void;
  fail(error: RpcError): void;
}

/** What builds may be described by, beside graphs. */
export interface Frontends {
  /** Whether dockerfile.v0 may be used. */
  readonly dockerfile: boolean;
  /** Runs a frontend in an image, for its result. Throws RpcError, BuildError. */
  readonly image: (build: Build, call: SolveCall) => Promise<Result | undefined>;
}

export interface Builds {
  /** Throws RpcError for a name that is in use. */
  begin(request: SolveRequest, session: RemoteSession | null, signal: AbortSignal): Build;
  end(build: Build): void;
  /** Is its progress here? That of others is in the history, if anywhere. */
  isHere(name: string): boolean;
  /** A build that runs. Throws RpcError NOT_FOUND. */
  running(name: string, signal: AbortSignal): Promise<Build>;
  /** The progress of a build that runs, or that has ended and is kept out of the history. Throws RpcError NOT_FOUND. */
  statusOf(name: string, signal: AbortSignal): Promise<StatusStream>;
}

/** What a build has from its start. */
export interface NewBuildOptions extends Pick<Build, "frontends" | "cacheFrom"> {
  readonly status?: StatusStream;
}

/** A build that has not begun. `close`: it has ended, and who waits for its bridge waits for nothing. */
export function newBuild(
  known: Pick<Build, "request" | "session" | "signal">,
  { status = openStatusStream(), ...options }: NewBuildOptions,
): Build & { close(): void } {
  const returned = openPromise<Result | undefined>();
  const bridge = openPromise<Bridge>();
  const { Ref: name } = known.request;
  return {
    ...known,
    ...options,
    status,
    returned: returned.promise,
    finish: returned.resolve,
    fail: returned.reject,
    bridge: bridge.promise,
    opened: bridge.resolve,
    close: () => bridge.reject(new RpcError(CODE.NOT_FOUND, `the build ${name} has ended`)),
    results: openResults(),
    source: null,
    frontend: null,
    graphs: [],
    exported: [],
    provenance: null,
  };
}

export function openBuilds(frontends: () => Frontends): Builds {
  const running = new Map<string, Build & { close(): void }>();
  /** null: the history has its progress. */
  const ended = new Map<string, StatusStream | null>();
  const waiting = openWaiting<Build>();
  const unknown = (name: string): RpcError => new RpcError(CODE.NOT_FOUND, `no such job ${name}`);
  const wait = (name: string, withinMs: number, signal: AbortSignal): Promise<Build> =>
    waiting.wait(name, { ...{ withinMs, signal }, late: () => unknown(name) });

  return {
    begin(request, session, signal) {
      const name = request.Ref;
      // Others see it in the history.
      if (name.length > NAME_MAX_CHARS || printable(name) !== name)
        throw new RpcError(CODE.INVALID_ARGUMENT, "the build's Ref is too long or not printable");
      if (name === "" || running.has(name) || ended.has(name))
        throw new RpcError(CODE.UNKNOWN, `job ID ${name} exists already`);
      const build = newBuild({ request, session, signal }, { frontends: frontends(), cacheFrom: null });
      running.set(name, build);
      waiting.arrived(name, build);
      return build;
    },
    end(build) {
      const name = build.request.Ref;
      build.status.end();
      running.get(name)?.close();
      running.delete(name);
      build.status.shrink();
      ended.set(name, build.request.Internal ? build.status : null);
      const [oldest] = ended.keys();
      if (ended.size > ENDED_MAX && oldest !== undefined) ended.delete(oldest);
    },
    isHere: (name) => running.has(name) || (ended.get(name) ?? null) !== null,
    async running(name, signal) {
      const build = running.get(name);
      if (build !== undefined) return build;
      if (ended.has(name)) throw unknown(name);
      return await wait(name, GATEWAY_WAIT_MS, signal);
    },
    async statusOf(name, signal) {
      const status = running.get(name)?.status ?? ended.get(name);
      if (status === null) throw unknown(name);
      return status ?? (await wait(name, STATUS_WAIT_MS, signal)).status;
    },
  };
}
