// The debug address: an HTTP server for operators of this machine, apart from the addresses for clients. GET /metrics, as buildkitd has it.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Engine } from "../engine/contract.ts";
import { diskBytes } from "../../cache/ceiling.ts";
import { usage } from "../../cache/collect.ts";
import type { Address } from "./address.ts";
import { type ListenOptions, listenOn } from "./listen.ts";
import type { Log } from "./log.ts";
import type { BuildEnded, Gauges } from "./metering.ts";

export interface DebugServer {
  readonly addresses: readonly string[];
  readonly ended: BuildEnded;
  close(): void;
}

export interface DebugOptions {
  readonly engine: Engine;
  readonly owner: ListenOptions["owner"];
  readonly version: string;
  readonly gauges: Omit<Gauges, "storeBytes" | "disk">;
  readonly log: Log;
}

/** All records are read to add the store up: 0.1 s for 1,000 layers. */
const STORE_FOR_MS = 60_000;

/** Listens. Throws USAGE. */
export async function openDebugServer(address: Address, options: DebugOptions): Promise<DebugServer> {
  const { engine, owner, version, gauges, log } = options;
  const { openMetrics } = await import("./prometheus.ts");
  let known: { readonly atMs: number; readonly bytes: Promise<ReadonlyMap<string, number>> } | null = null;
  const metrics = openMetrics(version, {
    ...gauges,
    storeBytes() {
      const now = performance.now();
      if (known === null || now - known.atMs > STORE_FOR_MS)
        known = { atMs: now, bytes: bytesByKind(engine) };
      return known.bytes;
    },
    disk: () => diskBytes(engine.store.dir),
  });

  async function answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    const say = (status: number, text: string): void =>
      void response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
    if (url?.split("?", 1)[0] !== "/metrics") return say(404, "there is only /metrics\n");
    if (method !== "GET" && method !== "HEAD") return say(405, "GET it\n");
    const text = await metrics.text();
    response.writeHead(200, { "content-type": metrics.contentType }).end(text);
  }
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      log.error(`cannot tell the metrics: ${(error as Error).message}`);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  server.on("clientError", (_, socket) => socket.destroy());
  const listeners = await listenOn(address, {
    owner,
    passed: [],
    serve: (socket) => void server.emit("connection", socket),
  });
  return {
    addresses: listeners.map(({ shown }) => shown),
    ended: metrics.ended,
    close() {
      for (const listener of listeners) listener.close();
      server.closeAllConnections();
    },
  };
}

/** As last measured: asking must not start a keeper. */
async function bytesByKind({ store }: Engine): Promise<ReadonlyMap<string, number>> {
  const sums = new Map<string, number>();
  for (const { kind, sizeBytes } of await usage(store)) sums.set(kind, (sums.get(kind) ?? 0) + sizeBytes);
  return sums;
}
