// Registries for tests: Debian's docker-registry as a real one, and a small server that misbehaves as it is told.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface RunningRegistry extends AsyncDisposable {
  /** localhost:PORT */
  readonly host: string;
}

/** The account of a registry started with `auth`. */
export const REGISTRY_USER = { username: "builder", password: "hunter2" } as const;
// bcrypt of the password, cost 4, as `htpasswd -B` writes it.
const HTPASSWD = "builder:$2y$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";

/** Starts docker-registry on a free port with an empty storage of its own; disposing ends it and removes the storage. */
export async function startRegistry(options: { readonly auth?: boolean } = {}): Promise<RunningRegistry> {
  const dir = mkdtempSync(join(tmpdir(), "tsbuild-registry-"));
  writeFileSync(join(dir, "htpasswd"), HTPASSWD);
  const config = {
    version: "0.1",
    log: { level: "info", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, "data") } },
    http: { addr: "127.0.0.1:0", secret: "test" },
    ...(options.auth ? { auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } } } : {}),
  };
  writeFileSync(join(dir, "config.yml"), JSON.stringify(config)); // JSON is YAML
  const child = spawn("docker-registry", ["serve", join(dir, "config.yml")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const closed = once(child, "close");
  const lines: string[] = [];
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
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await closed;
      rmSync(dir, { recursive: true, force: true });
    },
  };
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
