// tsbuildd: an engine behind BuildKit's API. Listens, and gives each connection the services.

import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { diskBytes } from "../../cache/ceiling.ts";
import type { Engine } from "../engine/contract.ts";
import type { WorkerRecord } from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import type { Tracing } from "../otlp.ts";
import { type Call, type Handler, serveRpc } from "../wire/server.ts";
import { openAdmission } from "./admission.ts";
import { openBuilds } from "./builds.ts";
import { openCollector } from "./collector.ts";
import type { DaemonSettings } from "./config.ts";
import { contentHandlers } from "./content.ts";
import { controlHandlers } from "./control.ts";
import { openFrontendImages } from "./frontend-image.ts";
import { gatewayHandlers } from "./gateway.ts";
import { healthHandlers } from "./health.ts";
import { openHistory } from "./history.ts";
import { DEFAULT_HISTORY_LIMITS, type HistoryLimits } from "./history-store.ts";
import { type Listener, listenOn, type PassedSocket } from "./listen.ts";
import type { Log } from "./log.ts";
import type { DebugOptions, DebugServer } from "./debug-server.ts";
import { openSessions } from "./sessions.ts";
import { traceHandlers } from "./trace.ts";
import { workerRecord } from "./worker-record.ts";

export interface DaemonOptions {
  readonly settings: DaemonSettings;
  readonly passed: readonly PassedSocket[];
  readonly version: string;
  readonly log: Log;
  /** null: builds are not traced. */
  readonly tracing: Tracing | null;
}

export interface Daemon extends AsyncDisposable {
  /** Where it listens, with the ports that were chosen. */
  readonly addresses: readonly string[];
  /** Where it tells its metrics. */
  readonly debugAddresses: readonly string[];
  /** Takes settings that can change, and certificates of its addresses anew. */
  reload(settings: DaemonSettings): void;
  /** How many builds run. */
  running(): number;
  /** Takes no new builds, and resolves when none runs: those that still do after `withinMs` are cancelled. */
  drain(withinMs: number): Promise<void>;
}

/** After the last build: its client asks for the record of it, and leaves. */
const CLOSE_MS = 1_000;
/** A call of this is a build. */
const SOLVE = "/moby.buildkit.v1.Control/Solve";

const by = (frontend: string | null): string => (frontend === null ? "" : `, by ${frontend}`);

/** Serves the engine. Throws USAGE for an address that cannot be listened on. Disposing it cancels builds that run, and ends
 *  all connections. */
export async function openDaemon(engine: Engine, options: DaemonOptions): Promise<Daemon> {
  const { settings, version, log } = options;
  let { gc, worker, history: kept, frontends } = settings;
  const allowed = new Set(settings.allowed);
  const sessions = openSessions();
  const image = openFrontendImages({
    settings: () => frontends,
    workers: () => workers(),
    log: (line) => log.error(line),
  });
  const builds = openBuilds(() => ({ dockerfile: frontends.dockerfile, image }));
  const collector = openCollector(engine, {
    policies: () => (gc.kind === "policies" ? gc.policies : []),
    log,
  });
  const admission = openAdmission(() => collector.buildEnded());
  const workers = (): WorkerRecord[] => [
    workerRecord(
      version,
      worker,
      gc.kind === "policies" ? { ...gc, diskBytes: diskBytes(engine.store.dir).total } : null,
    ),
  ];
  const draining = new AbortController();
  const limits: HistoryLimits = {
    get maxAgeMs() {
      return kept.maxAgeMs ?? DEFAULT_HISTORY_LIMITS.maxAgeMs;
    },
    get maxEntries() {
      return kept.maxEntries ?? DEFAULT_HISTORY_LIMITS.maxEntries;
    },
  };
  const history = openHistory({
    ...{ files: engine.store.history, content: engine.store.content, limits },
    log: (line) => log.error(line),
  });
  const peers = new WeakMap<object, string>();
  const peerOf = ({ stream }: Call): string =>
    peers.get((stream as unknown as { readonly session?: object }).session ?? {}) ?? "";
  const connections = new Set<ReturnType<typeof serveRpc>>();
  const traffic = openTraffic();
  const debug = await openDebug(engine, options, {
    builds: () => admission.running,
    sessions: () => sessions.count,
    connections: () => connections.size,
    receivedBytes: () => traffic.bytes("bytesRead"),
    sentBytes: () => traffic.bytes("bytesWritten"),
  });
  const handlers = new Map<string, Handler>([
    ...controlHandlers({
      ...{ engine, allowed, builds, sessions, history, version, workers, peerOf },
      // Names alone: arguments, labels and messages of steps may hold secrets.
      began: ({ name, frontend, peer }) =>
        log.info(`build ${name} of ${peer || "a client"} begins${by(frontend)}`),
      ended({ name, frontend }, of) {
        if (debug === null && !log.shows("info")) return;
        const build = of();
        const { result, seconds, steps } = build;
        const total = steps.done + steps.cached + steps.failed + steps.cancelled;
        const failed = steps.failed === 0 ? "" : `, ${steps.failed} failed`;
        log.info(
          `build ${name} ${result} after ${seconds.toFixed(1)} s${by(frontend)}: ${steps.cached} of ${total} steps cached${failed}`,
        );
        debug?.ended(build);
      },
      tracing: options.tracing,
    }),
    ...gatewayHandlers(builds, workers),
    ...contentHandlers(engine.store.history),
    ...traceHandlers(),
    ...healthHandlers(draining.signal),
  ]);
  const solve = handlers.get(SOLVE);
  if (solve === undefined) throw new Error(`no handler for ${SOLVE}`);
  handlers.set(SOLVE, admission.guard(solve));
  const serve = (socket: Socket | TLSSocket, peer: string): void => {
    const served = serveRpc(socket, handlers, {
      onFault: (error) =>
        log.error(
          `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
        ),
    });
    peers.set(served.session, peer);
    traffic.add(socket);
    connections.add(served);
    void served.closed.then(() => connections.delete(served));
  };

  async function drain(withinMs: number): Promise<void> {
    draining.abort();
    await admission.drain(withinMs);
  }

  const listeners: Listener[] = [];
  try {
    for (const address of settings.addresses)
      listeners.push(...(await listenOn(address, { serve, owner: settings.owner, passed: options.passed })));
  } catch (error) {
    for (const listener of listeners) listener.close();
    debug?.close();
    throw error;
  }
  return {
    addresses: listeners.map(({ shown }) => shown).filter((shown) => shown !== ""),
    debugAddresses: debug?.addresses ?? [],
    reload(next) {
      ({ gc, worker, history: kept, frontends } = next);
      allowed.clear();
      for (const name of next.allowed) allowed.add(name);
      for (const listener of listeners) listener.reload();
    },
    running: () => admission.running,
    drain,
    async [Symbol.asyncDispose]() {
      await drain(0);
      history.drain();
      for (const listener of listeners) listener.close();
      debug?.close();
      for (const { session } of connections) session.close();
      const all = Promise.all([...connections].map(({ closed }) => closed));
      const timeout = new AbortController();
      await Promise.race([all, delay(CLOSE_MS, undefined, { signal: timeout.signal }).catch(() => {})]);
      timeout.abort();
      for (const { session } of connections) session.destroy();
      await all;
      await history[Symbol.asyncDispose]();
      await collector[Symbol.asyncDispose]();
    },
  };
}

/** null: no such address was given. */
async function openDebug(
  engine: Engine,
  { settings, version, log }: DaemonOptions,
  gauges: DebugOptions["gauges"],
): Promise<DebugServer | null> {
  if (settings.debugAddress === null) return null;
  const { openDebugServer } = await import("./debug-server.ts");
  return await openDebugServer(settings.debugAddress, {
    engine,
    owner: settings.owner,
    version,
    gauges,
    log,
  });
}

/** Adds up what sockets have carried, those that are gone too. */
function openTraffic(): {
  add(socket: Socket): void;
  bytes(way: "bytesRead" | "bytesWritten"): number;
} {
  const open = new Set<Socket>();
  const gone = { bytesRead: 0, bytesWritten: 0 };
  return {
    add(socket) {
      open.add(socket);
      socket.once("close", () => {
        open.delete(socket);
        gone.bytesRead += socket.bytesRead;
        gone.bytesWritten += socket.bytesWritten;
      });
    },
    bytes: (way) => [...open].reduce((sum, socket) => sum + socket[way], gone[way]),
  };
}
