// Whether a builder is there: silence makes doubt, and doubt is one ping, since grpc-go ends connections that are pinged often.

import assert from "node:assert/strict";
import { createServer, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, connect, createServer as createSocketServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { dialBuilder, unreachable } from "../../../bin/remote/dial.ts";
import { openHearing, watchConnection } from "../../../bin/remote/liveness.ts";
import { dialHttp2 } from "../../../bin/wire/connection.ts";

describe("a builder that says nothing", function () {
  this.timeout(20_000);
  const listen = async (server: Server): Promise<number> => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  };

  it("is given up soon after a step has failed, when it answers no ping either", async () => {
    const server = createSocketServer((socket) => socket.resume().on("error", () => {}));
    const http = dialHttp2(connect(await listen(server), "127.0.0.1"));
    const begun = Date.now();
    try {
      const { signal } = new AbortController();
      const lost = watchConnection(http, { hearing: openHearing(), hasFailed: () => true, signal });
      await assert.rejects(lost, /does not answer any more/);
      assert.ok(Date.now() - begun > 4_000);
    } finally {
      http.destroy();
      server.close();
    }
  });

  it("is lost at once when it has ended its side of the connection, as a killed one has", async () => {
    const server = createSocketServer({ allowHalfOpen: true }, (socket) =>
      socket
        .on("error", () => {})
        .resume()
        .end(),
    );
    const port = await listen(server);
    try {
      for (const address of [
        { kind: "tcp", host: "127.0.0.1", port, tls: null },
        { kind: "command", file: "sh", args: ["-c", "exec >&-; exec sleep 600"] },
      ] as const) {
        const ended = new AbortController();
        await using connection = await dialBuilder(address, { env: process.env, signal: ended.signal });
        const http = dialHttp2(connection.stream);
        const watched = { hearing: openHearing(), hasFailed: () => false, signal: ended.signal };
        const late = delay(5_000, "late", { signal: ended.signal }).catch(() => {});
        await assert.rejects(Promise.race([watchConnection(http, watched), late]), /was closed/);
        ended.abort();
        http.destroy();
      }
    } finally {
      server.close();
    }
  });

  it("is asked once, and left alone when it answers", async () => {
    let pings = 0;
    const server = createServer();
    server.on("session", (session: ServerHttp2Session) =>
      session.on("ping", () => pings++).on("error", () => {}),
    );
    const http = dialHttp2(connect(await listen(server), "127.0.0.1"));
    const ended = new AbortController();
    try {
      const hearing = openHearing();
      const lost = watchConnection(http, { hearing, hasFailed: () => true, signal: ended.signal });
      const first = await Promise.race([lost, delay(7_000, "there")]);
      assert.deepEqual([first, pings], ["there", 1]);
    } finally {
      ended.abort();
      http.destroy();
      server.close();
    }
  });

  it("that is lost when the builder had answered is not one that cannot be reached", () => {
    const address = { kind: "tcp", host: "far", port: 1, tls: null } as const;
    const message = (wasReached: boolean): string =>
      unreachable(address, new Error("the connection was closed"), { complaint: "", wasReached }).message;
    assert.equal(message(false), "cannot reach the builder at tcp://far:1: the connection was closed");
    assert.equal(
      message(true),
      "lost the connection to the builder at tcp://far:1: the connection was closed",
    );
  });
});
