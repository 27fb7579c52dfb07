// Registries for tests: Debian's docker-registry as a real one, and a small server that misbehaves on demand.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { needs } from "./needs.ts";

export interface RunningRegistry extends AsyncDisposable {
  /** localhost:PORT */
  readonly host: string;
}

export interface DebianRegistry extends RunningRegistry {
  /** Requests so far, "GET /v2/app/blobs/sha256:…"; in the order of their ends. */
  requests(): Promise<readonly string[]>;
  /** Resolves when one like this has been answered. */
  asked(request: RegExp): Promise<void>;
}

/** The account of a registry started with `auth`. */
export const REGISTRY_USER = { username: "builder", password: "hunter2" } as const;
// bcrypt of the password, cost 4, as `htpasswd -B` writes it.
const HTPASSWD = "builder:$2y$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";

/** A name in the log of a registry that no test has. */
const MARKER = "end-of-the-log";

/** Starts docker-registry on a free port with an empty storage of its own; disposing ends it and removes the storage. */
export async function startRegistry(
  options: {
    readonly auth?: boolean;
    /** Manifests may be deleted. */
    readonly canDelete?: boolean;
    /** Files in PEM; `clientAuthority`: who has no certificate of it is not let in. */
    readonly tls?: { readonly certificate: string; readonly key: string; readonly clientAuthority: string };
  } = {},
): Promise<DebianRegistry> {
  const dir = mkdtempSync(join(tmpdir(), "tsbuild-registry-"));
  writeFileSync(join(dir, "htpasswd"), HTPASSWD);
  const config = {
    version: "0.1",
    log: { level: "info", accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(dir, "data") },
      ...(options.canDelete ? { delete: { enabled: true } } : {}),
    },
    http: {
      addr: "127.0.0.1:0",
      secret: "test",
      ...(options.tls === undefined ? {} : { tls: tlsOf(options.tls) }),
    },
    ...(options.auth ? { auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } } } : {}),
  };
  writeFileSync(join(dir, "config.yml"), JSON.stringify(config)); // JSON is YAML
  const child = spawn("docker-registry", ["serve", join(dir, "config.yml")], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close");
  const lines: string[] = [];
  const requests: string[] = [];
  const log = createInterface({ input: child.stdout }).on("line", (line) => {
    const request = /"([A-Z]+ \/v2\/\S*) HTTP/.exec(line)?.[1]; // Apache's combined format
    if (request !== undefined && !request.includes(MARKER)) requests.push(request);
  });
  const port = await new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line);
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    closed.then(
      () => reject(new Error(`docker-registry ended:\n${lines.join("\n")}`)),
      () => {},
    );
  });
  return {
    host: `localhost:${port}`,
    async requests() {
      assert.equal(options.tls, undefined, "a registry with TLS is not asked by this process");
      // It writes its log after it has answered: what was asked before this is there when this is.
      const caughtUp = new Promise<void>((resolve) => {
        const look = (line: string): void => {
          if (!line.includes(MARKER)) return;
          log.off("line", look);
          resolve();
        };
        log.on("line", look);
      });
      await (await fetch(`http://localhost:${port}/v2/${MARKER}/tags/list`)).text();
      await caughtUp;
      return [...requests];
    },
    async asked(request) {
      while (!requests.some((one) => request.test(one))) await once(log, "line");
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await closed;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function tlsOf({ certificate, key, clientAuthority }: Readonly<Record<string, string>>): object {
  return { certificate, key, clientcas: [clientAuthority] };
}

/** Copies what a registry without TLS has under a name into a layout at `dest`, by skopeo. */
export function copyFromRegistry(name: string, dest: string): void {
  const args = ["--quiet", "--src-tls-verify=false", `docker://${name}`, `oci:${dest}:latest`];
  execFileSync(needs("skopeo"), ["copy", ...args]);
}

export interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}
export interface MisbehavingServer extends RunningRegistry {
  readonly origin: string; // http://localhost:PORT
  /** All requests so far. */
  readonly requests: readonly Request[];
}

/** Starts a server on a free port that answers as `handle` says; `count` counts equal requests (method and URL) from 0. */
export async function startServer(
  handle: (request: Request, response: ServerResponse, count: number) => void | Promise<void>,
): Promise<MisbehavingServer> {
  const requests: Request[] = [];
  const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const { method = "", url = "", headers } = incoming;
    const request = { method, url, headers, body: Buffer.concat(chunks) };
    const count = requests.filter((one) => one.method === method && one.url === url).length;
    requests.push(request);
    await handle(request, response, count);
  };
  const server = createServer((incoming, response) => {
    answer(incoming, response).catch((error: Error) => response.destroy(error));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `localhost:${(server.address() as AddressInfo).port}`;
  return {
    host,
    origin: `http://${host}`,
    requests,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** An address of this machine at which connections neither stand nor fail: of a process that is stopped, with a full queue. */
export async function startDeaf(): Promise<RunningRegistry> {
  const program = `const server = require("node:net").createServer().listen({ host: "127.0.0.1", port: 0, backlog: 1 },
    () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const [port] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  child.kill("SIGSTOP");
  // Two find a place in the queue; listen(2) counts from 0. The first that does not shows that it is full.
  const waiting: Socket[] = [];
  for (let isFull = false; !isFull; ) {
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    waiting.push(socket);
    isFull = await Promise.race([once(socket, "connect").then(() => false), delay(500, true)]);
  }
  return {
    host: `localhost:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
      await closed;
    },
  };
}
