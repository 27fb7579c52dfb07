// What a client that is somewhere else takes and gives, as its own server answers.

import assert from "node:assert/strict";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { openRemoteSession } from "../../bin/daemon/remote-session.ts";
import { healthChecksOf } from "../../bin/daemon/session-health.ts";
import { decodeBytes } from "../../bin/wire/bytes-message.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import { type Call, type Handler, serveRpc } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";

const OUTPUT = "/moby.filesync.v1.FileSend/DiffCopy";

describe("an output for a client", () => {
  let server: Server;
  let handler: Handler;
  const { signal } = new AbortController();

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true }, (socket) => {
      serveRpc(socket, new Map([[OUTPUT, (call: Call) => handler(call)]]), { onFault: assert.ifError });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => {
    server.close();
  });

  const MEBIBYTE = 1 << 20;
  /** More than any window has room for. */
  const PIECES = 64;
  async function send(about = {}): Promise<number> {
    let sent = 0;
    async function* data() {
      for (; sent < PIECES; sent++) yield Buffer.alloc(MEBIBYTE);
    }
    using session = openRemoteSession(
      dialHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1")),
      {
        ...{ id: "one", sharedKey: "", methods: [OUTPUT], peer: "test", tempDir: () => "/nowhere" },
        find: () => Promise.reject(new RpcError(CODE.NOT_FOUND, "no other")),
      },
    );
    await session.outputs?.file("3", data(), { signal, about });
    return sent;
  }

  it("has what the exporter says of it in front, then all of it", async () => {
    let headers: readonly (readonly string[])[] = [];
    let received = 0;
    handler = async (call) => {
      headers = ["buildkit-attachable-exporter-id", "exporter-md-containerimage.digest"].map(call.header);
      for await (const message of call.messages()) received += decodeBytes(message).length;
    };
    assert.equal(await send({ "containerimage.digest": "sha256:0" }), PIECES);
    assert.deepEqual(headers, [["3"], ["sha256:0"]]);
    assert.equal(received, PIECES * MEBIBYTE);
  });

  it("ends when the client has it already, without an error and without the rest", async () => {
    handler = async () => {
      throw new RpcError(CODE.ALREADY_EXISTS, "target already exists");
    };
    assert.ok((await send()) < PIECES);
  });

  it("fails with the client's words when it ends the call with an error", async () => {
    handler = async () => {
      throw new RpcError(CODE.UNKNOWN, "no space left");
    };
    await assert.rejects(send(), { code: CODE.UNKNOWN, message: "no space left" });
  });
});

describe("a client that does not answer", () => {
  it("is gone after the time it has asked for, and stays while it answers", async () => {
    const health = { everyMs: 50, withinMs: 200, misses: 1 };
    for (const answers of [true, false]) {
      let checks = 0;
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        const check = async (call: Call): Promise<void> => {
          checks++;
          if (answers) await call.send(Buffer.alloc(0));
          else await new Promise<void>((resolve) => call.signal.addEventListener("abort", () => resolve()));
        };
        serveRpc(socket, new Map([["/grpc.health.v1.Health/Check", check]]), { onFault: () => {} });
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      try {
        using session = openRemoteSession(
          dialHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1")),
          {
            ...{ id: "one", sharedKey: "", methods: [], peer: "test", tempDir: () => "/nowhere", health },
            find: () => Promise.reject(new RpcError(CODE.NOT_FOUND, "no other")),
          },
        );
        if (answers) {
          while (checks < 4) await new Promise((resolve) => setTimeout(resolve, 20));
          assert.ok(!session.gone.aborted);
        } else {
          await new Promise<void>((resolve) => session.gone.addEventListener("abort", () => resolve()));
          assert.ok(checks >= 1);
        }
      } finally {
        server.close();
      }
    }
  });

  it("may ask for a shorter time, of a second at least", () => {
    const usual = { everyMs: 5_000, withinMs: 15_000, misses: 2 };
    for (const none of [undefined, "", "0", "-5", "5s", "1e3"]) assert.deepEqual(healthChecksOf(none), usual);
    assert.deepEqual(healthChecksOf("2000"), { everyMs: 2_000, withinMs: 2_000, misses: 1 });
    assert.equal(healthChecksOf("3").withinMs, 1_000);
  });
});
