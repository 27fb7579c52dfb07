// Both implementations of exchanges behave the same, without TLS, with TLS and through proxies.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createPlainServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { openNodeCarrier } from "../../../cache/registry/carrier-node.ts";
import { openUndiciCarrier } from "../../../cache/registry/carrier-undici.ts";
import { hostCertificates } from "../../../cache/registry/certificates.ts";
import type { Carrier, Exchange, Route } from "../../../cache/registry/exchange.ts";
import { openTransport } from "../../../cache/registry/transport.ts";
import { bytesOf, collect } from "../../exporters/fixture.ts";
import { needs } from "../../support/needs.ts";
import { startDeaf, startServer } from "../../support/registry.ts";

const signal = new AbortController().signal;
const DIRECT: Route = { proxy: null, ca: null };
const exchange = (url: string, change: Partial<Exchange> = {}): Exchange => ({
  method: "GET",
  url: new URL(url),
  headers: {},
  signal,
  idleMs: 20_000,
  totalMs: 60_000,
  verifyTls: true,
  ...change,
});

describe("carriers", () => {
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "tsbuild-carriers-"));
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"];
    execFileSync(needs("openssl"), ["req", "-x509", ...key, ...subject, "-days", "2", "-out", "ca.crt"], {
      cwd: dir,
      stdio: "pipe",
    });
  });
  after(() => rmSync(dir, { recursive: true }));

  const carriers: readonly (readonly [string, () => Carrier])[] = [
    ["node:http", openNodeCarrier],
    ["undici", openUndiciCarrier],
  ];
  for (const [name, open] of carriers) {
    describe(name, () => {
      let carrier: Carrier;
      beforeEach(() => void (carrier = open()));
      afterEach(() => carrier.close());

      it("brings a body both ways, over connections that are kept", async () => {
        const data = randomBytes(3_000_000);
        const ports = new Set<number | undefined>();
        await using server = await startServer((request, response) => {
          ports.add(response.req.socket.remotePort);
          response.writeHead(200, { "x-length": request.body.length }).end(data);
        });
        const put = await carrier.send(
          exchange(`${server.origin}/a?b=c`, {
            method: "PUT",
            headers: { "content-length": String(data.length) },
            body: bytesOf(data),
          }),
          DIRECT,
        );
        assert.equal(put.headers["x-length"], String(data.length));
        assert.ok((await collect(put.body)).equals(data));
        for (let i = 0; i < 8; i++) {
          const answer = await carrier.send(exchange(server.origin), DIRECT);
          assert.equal((await collect(answer.body)).length, data.length);
        }
        assert.ok(server.requests[0]?.body.equals(data));
        assert.equal(server.requests[0]?.url, "/a?b=c");
        assert.ok(ports.size <= 2, `${ports.size} connections`); // a pool may open its second before the first is free
      });

      it("sends many chunks without a warning", async () => {
        const warnings: Error[] = [];
        const onWarning = (warning: Error) => warnings.push(warning);
        process.on("warning", onWarning);
        await using server = await startServer((_request, response) => void response.end());
        const chunk = Buffer.alloc(1 << 20);
        async function* many(): AsyncGenerator<Uint8Array> {
          for (let i = 0; i < 40; i++) yield chunk;
        }
        const answer = await carrier.send(
          exchange(server.origin, {
            method: "PUT",
            headers: { "content-length": String(40 * chunk.length) },
            body: many(),
          }),
          DIRECT,
        );
        await answer.discard();
        process.off("warning", onWarning);
        assert.deepEqual(warnings, []);
        assert.equal(server.requests[0]?.body.length, 40 * chunk.length);
      });

      it("hands on the error of the body's own source", async () => {
        await using server = await startServer((_request, response) => void response.end());
        async function* broken(): AsyncGenerator<Uint8Array> {
          yield Buffer.alloc(1000);
          throw new RangeError("the disk is gone");
        }
        const sending = carrier.send(
          exchange(server.origin, { method: "PUT", headers: { "content-length": "2000" }, body: broken() }),
          DIRECT,
        );
        await assert.rejects(sending, { name: "RangeError", message: "the disk is gone" });
      });

      it("gets the answer of a server that refuses a body before it has read it", async () => {
        const server = createPlainServer((_request, response) => {
          response.writeHead(413, { connection: "close" }).end("too large");
        });
        server.listen(0, "127.0.0.1");
        await once(server, "listening");
        const { port } = server.address() as AddressInfo;
        async function* endless(): AsyncGenerator<Uint8Array> {
          for (;;) {
            yield Buffer.alloc(1 << 16);
            await new Promise(setImmediate);
          }
        }
        const answer = await carrier.send(
          exchange(`http://localhost:${port}`, {
            method: "PUT",
            headers: { "content-length": "100000000000" },
            body: endless(),
          }),
          DIRECT,
        );
        assert.equal(answer.status, 413);
        await answer.discard();
        server.closeAllConnections();
        server.close();
      });

      it("says that a silent server is silent, before and within its answer", async () => {
        await using server = await startServer((request, response) => {
          if (request.url === "/half") response.writeHead(200, { "content-length": 10 }).write("half");
        });
        const limits = { idleMs: 300 };
        await assert.rejects(carrier.send(exchange(`${server.origin}/none`, limits), DIRECT), {
          name: "Fault",
          code: "ETIMEDOUT",
        });
        const half = async (): Promise<unknown> =>
          collect((await carrier.send(exchange(`${server.origin}/half`, limits), DIRECT)).body);
        await assert.rejects(half, { name: "Fault", code: "ETIMEDOUT" });
      });

      it("waits for a connection no longer than it is told", async () => {
        await using deaf = await startDeaf();
        await assert.rejects(
          carrier.send(exchange(`http://${deaf.host}`), { ...DIRECT, dialTimeoutMs: 300 }),
          { name: "Fault", code: "ETIMEDOUT", message: "connection timed out" },
        );
        await using server = await startServer(
          (_request, response) => void setTimeout(() => response.end("late"), 600),
        );
        const answer = await carrier.send(exchange(server.origin), { ...DIRECT, dialTimeoutMs: 300 });
        assert.equal((await collect(answer.body)).toString(), "late");
      });

      it("ends an exchange that takes too long in all, though something comes all the time", async () => {
        await using server = await startServer((_request, response) => {
          response.writeHead(200, { "content-length": 1_000_000 });
          const timer = setInterval(() => response.write("."), 20);
          response.on("close", () => clearInterval(timer));
        });
        const whole = async (): Promise<unknown> =>
          collect((await carrier.send(exchange(server.origin, { totalMs: 300 }), DIRECT)).body);
        await assert.rejects(whole, { name: "Fault", code: "ETIMEDOUT" });
      });

      it("tells a connection that broke from an answer that ended", async () => {
        await using server = await startServer((_request, response) => {
          response.writeHead(200, { "content-length": 10 });
          response.write("half", () => response.destroy());
        });
        const answer = await carrier.send(exchange(server.origin), DIRECT);
        await assert.rejects(collect(answer.body), { name: "Fault", code: "ECONNRESET" });
      });

      it("throws the reason of an abort, in an exchange and before one", async () => {
        await using server = await startServer((_request, response) => void response.write("more to come"));
        const controller = new AbortController();
        const answer = await carrier.send(exchange(server.origin, { signal: controller.signal }), DIRECT);
        const reading = collect(answer.body);
        controller.abort(new RangeError("enough"));
        await assert.rejects(reading, { message: "enough" });
        const late = carrier.send(exchange(server.origin, { signal: controller.signal }), DIRECT);
        await assert.rejects(late, { message: "enough" });
      });

      it("trusts the authorities it is given, and no others", async () => {
        await using server = await startTls(dir);
        await assert.rejects(carrier.send(exchange(server.origin), DIRECT), {
          name: "Fault",
          code: /SELF_SIGNED_CERT/,
        });
        const ca = [readFileSync(join(dir, "ca.crt"), "utf8")];
        const text = async (route: Route, change: Partial<Exchange> = {}) =>
          (await collect((await carrier.send(exchange(server.origin, change), route)).body)).toString();
        assert.equal(await text({ proxy: null, ca }), "by tls");
        assert.equal(await text(DIRECT, { verifyTls: false }), "by tls");
        // What one of them allowed is not allowed to the next.
        await assert.rejects(carrier.send(exchange(server.origin), DIRECT), { name: "Fault" });
      });

      it("shows the certificate it is given to who asks, in the next exchange without one none", async () => {
        const pem = (name: string) => readFileSync(join(dir, name), "utf8");
        await using server = await startTls(dir);
        const of = async (route: Route) =>
          (await collect((await carrier.send(exchange(`${server.origin}/who`), route)).body)).toString();
        const ca = [pem("ca.crt")];
        const clients = [{ cert: pem("ca.crt"), key: pem("key.pem"), kind: "ec" }];
        assert.equal(await of({ proxy: null, ca, clients }), "localhost");
        assert.equal(await of({ proxy: null, ca }), "nobody");
        await using proxy = await startProxy();
        assert.equal(await of({ proxy: new URL(`http://${proxy.host}`), ca, clients }), "localhost");
      });

      it("goes through a proxy: http whole, https by a tunnel, with its password", async () => {
        await using server = await startServer((_request, response) => void response.end("in the clear"));
        await using tls = await startTls(dir);
        await using proxy = await startProxy();
        const through = {
          proxy: new URL(`http://u:p%40@${proxy.host}`),
          ca: [readFileSync(join(dir, "ca.crt"), "utf8")],
        };
        const text = async (url: string) =>
          (await collect((await carrier.send(exchange(url), through)).body)).toString();
        assert.equal(await text(`${server.origin}/x`), "in the clear");
        assert.equal(await text(tls.origin), "by tls");
        const authorization = `Basic ${Buffer.from("u:p@").toString("base64")}`;
        assert.deepEqual(proxy.seen, [
          `GET ${server.origin}/x ${authorization}`,
          `CONNECT ${tls.host} ${authorization}`,
        ]);
        assert.equal(server.requests[0]?.headers["proxy-authorization"], authorization); // the test's proxy hands all on
      });

      it("says that a proxy refused", async () => {
        await using proxy = await startProxy(403);
        const route = { proxy: new URL(`http://${proxy.host}`), ca: null };
        await assert.rejects(carrier.send(exchange("https://example.invalid/"), route), {
          name: "Fault",
          code: "EPROXY",
          message: /status 403/,
        });
      });
    });
  }

  it("of a transport use the authorities in a host's directory", async () => {
    await using server = await startTls(dir);
    mkdirSync(join(dir, "certs.d", server.host), { recursive: true });
    cpSync(join(dir, "ca.crt"), join(dir, "certs.d", server.host, "ca.crt"));
    using transport = openTransport({
      certificates: hostCertificates([join(dir, "none"), join(dir, "certs.d")]),
    });
    for (const isTransfer of [false, true]) {
      const answer = await transport.send(exchange(server.origin, { isTransfer }));
      assert.equal((await collect(answer.body)).toString(), "by tls");
    }
    using plain = openTransport({ certificates: hostCertificates([join(dir, "none")]) });
    await assert.rejects(plain.send(exchange(server.origin)), { name: "Fault" });
  });
});

interface Running extends AsyncDisposable {
  readonly host: string;
  readonly origin: string;
}

async function startTls(dir: string): Promise<Running> {
  const pem = (name: string) => readFileSync(join(dir, name));
  const server = createTlsServer(
    { cert: pem("ca.crt"), key: pem("key.pem"), requestCert: true, rejectUnauthorized: false },
    (request, response) => {
      const { subject } = (request.socket as TLSSocket).getPeerCertificate();
      response.end(request.url === "/who" ? (subject?.CN ?? "nobody") : "by tls");
    },
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `localhost:${(server.address() as AddressInfo).port}`;
  return {
    host,
    origin: `https://${host}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A proxy that notes what it is asked, and refuses tunnels with `refusal`. */
async function startProxy(refusal?: number): Promise<Running & { readonly seen: readonly string[] }> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const server = createPlainServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"]}`);
    const to = new URL(request.url ?? "");
    fetch(to, { headers: { "proxy-authorization": request.headers["proxy-authorization"] ?? "" } }).then(
      async (answer) => void response.end(Buffer.from(await answer.arrayBuffer())),
      (error: Error) => response.destroy(error),
    );
  });
  server.on("connect", (request, socket: Socket) => {
    seen.push(`CONNECT ${request.url} ${request.headers["proxy-authorization"]}`);
    sockets.add(socket);
    socket.on("error", () => {}); // told by the other side
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal} No\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(`http://${request.url}`);
    const target = connect(Number(port), hostname, () => {
      socket.write("HTTP/1.1 200 Fine\r\n\r\n");
      socket.pipe(target).pipe(socket);
    });
    sockets.add(target);
    target.on("error", () => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `localhost:${(server.address() as AddressInfo).port}`;
  return {
    host,
    origin: `http://${host}`,
    seen,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
