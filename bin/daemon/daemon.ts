// tsbuildd: an engine behind BuildKit's API. Listens, and gives each connection the services.

import { chmodSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, connect, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { makeDirectories } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Engine } from "../engine/request.ts";
import { type Call, serveRpc } from "../wire/server.ts";
import { openBuilds } from "./builds.ts";
import { contentHandlers } from "./content.ts";
import { controlHandlers, workerRecord } from "./control.ts";
import { gatewayHandlers } from "./gateway.ts";
import { healthHandlers } from "./health.ts";
import { openHistory } from "./history.ts";
import type { HistoryLimits } from "./history-store.ts";
import { openSessions } from "./sessions.ts";
import { traceHandlers } from "./trace.ts";

/** Where it listens. */
export type Address =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly tls: TlsFiles | null };

/** PEM files; absolute. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface DaemonOptions {
  readonly addresses: readonly Address[];
  /** Entitlements that clients may ask for. */
  readonly allowed: ReadonlySet<string>;
  readonly version: string;
  /** Of the build history; left out: BuildKit's. */
  readonly history?: HistoryLimits;
  readonly log: (line: string) => void;
}

export interface Daemon extends AsyncDisposable {
  /** Where it listens, with the ports that were chosen. */
  readonly addresses: readonly string[];
}

/** For builds that run when the daemon is told to end. */
const DRAIN_MS = 10_000;

/** Serves the engine. Throws USAGE for an address that cannot be listened on. Disposing it takes no new connections, and gives those there are
 *  some seconds to end. */
export async function openDaemon(engine: Engine, options: DaemonOptions): Promise<Daemon> {
  const { allowed, version, log } = options;
  const sessions = openSessions();
  const builds = openBuilds(sessions);
  const draining = new AbortController();
  const history = openHistory({
    ...{ files: engine.store.history, content: engine.store.content, log },
    ...(options.history === undefined ? {} : { limits: options.history }),
  });
  const peers = new WeakMap<object, string>();
  const peerOf = ({ stream }: Call): string =>
    peers.get((stream as unknown as { readonly session?: object }).session ?? {}) ?? "";
  const handlers = new Map([
    ...controlHandlers({ engine, allowed, builds, sessions, history, version, peerOf }),
    ...gatewayHandlers(builds, () => [workerRecord(version)]),
    ...contentHandlers(engine.store.history),
    ...traceHandlers(),
    ...healthHandlers(draining.signal),
  ]);
  const connections = new Set<ReturnType<typeof serveRpc>>();
  const servers: Server[] = [];
  const serve = (socket: Socket | TLSSocket, peer: string): void => {
    const served = serveRpc(socket, handlers, {
      onFault: (error) =>
        log(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
    });
    peers.set(served.session, peer);
    connections.add(served);
    void served.closed.then(() => connections.delete(served));
  };

  const shown: string[] = [];
  try {
    for (const address of options.addresses) {
      const server =
        address.kind === "unix" ? await listenUnix(address.path, serve) : await listenTcp(address, serve);
      servers.push(server);
      const at = server.address();
      shown.push(
        typeof at === "object" && at !== null ? `tcp://${at.address}:${at.port}` : `unix://${String(at)}`,
      );
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return {
    addresses: shown,
    async [Symbol.asyncDispose]() {
      for (const server of servers) server.close();
      draining.abort();
      history.drain();
      for (const { session } of connections) session.close();
      const all = Promise.all([...connections].map(({ closed }) => closed));
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        all,
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, DRAIN_MS);
        }),
      ]);
      clearTimeout(timer);
      for (const { session } of connections) session.destroy();
      await all;
      await history[Symbol.asyncDispose]();
    },
  };
}

/** A socket that only this user may connect to. One left by a daemon that is gone is replaced. */
async function listenUnix(path: string, serve: (socket: Socket, peer: string) => void): Promise<Server> {
  makeDirectories(dirname(path), 0o700);
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === true) {
    if (await answers(path))
      throw new BuildError("USAGE", `another daemon listens on ${path}`, {
        hint: "end it, or give another address with --addr",
      });
    rmSync(path);
  }
  const before = process.umask(0o177);
  try {
    const server = createServer({ allowHalfOpen: true }, (socket) => serve(socket, "unix"));
    await listening(server, () => server.listen({ path }), path);
    chmodSync(path, 0o600);
    return server;
  } finally {
    process.umask(before);
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function listenTcp(
  { host, port, tls }: Extract<Address, { kind: "tcp" }>,
  serve: (socket: Socket | TLSSocket, peer: string) => void,
): Promise<Server> {
  if (tls === null) {
    if (!["127.0.0.1", "::1", "localhost"].includes(host))
      throw new BuildError("USAGE", `tcp://${host}:${port} needs TLS`, {
        hint: "give --tlscert, --tlskey and --tlscacert; without them only loopback addresses are served",
      });
    const server = createServer({ allowHalfOpen: true }, (socket) => serve(socket, "loopback"));
    await listening(server, () => server.listen({ host, port }), `${host}:${port}`);
    return server;
  }
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new BuildError("USAGE", `cannot read ${file}`, { cause });
    }
  };
  const server = createTlsServer(
    {
      cert: read(tls.cert),
      key: read(tls.key),
      ca: read(tls.ca),
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
      allowHalfOpen: true,
    },
    (socket) => serve(socket, `tls ${socket.getPeerCertificate().fingerprint256 ?? ""}`),
  );
  await listening(server, () => server.listen({ host, port }), `${host}:${port}`);
  return server;
}

function listening(server: Server, listen: () => void, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new BuildError("USAGE", `cannot listen on ${where}: ${cause.message}`, { cause }));
    });
    server.once("listening", resolve);
    listen();
  });
}
