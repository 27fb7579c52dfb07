// What a client that is somewhere else takes and gives, as its own server answers.

import assert from "node:assert/strict";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { openRemoteSession } from "../../bin/daemon/remote-session.ts";
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
