// gRPC as tsbuildd speaks it: calls between our own two sides, and what no client should send.

import { create, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { type ClientHttp2Stream, constants } from "node:http2";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { callUnary, openCall } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import { framed, MESSAGE_MAX_BYTES, readBatches } from "../../bin/wire/frames.ts";
import { receiveFiles } from "../../bin/wire/fsutil-receive.ts";
import { sendFiles } from "../../bin/wire/fsutil-send.ts";
import { StatSchema } from "../../bin/wire/messages/fsutil/types/stat_pb.ts";
import { PacketSchema } from "../../bin/wire/messages/fsutil/types/wire_pb.ts";
import { type Call, type Handler, serveRpc, unary } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";
import { openTunnel } from "../../bin/wire/tunnel.ts";
import type { FileEntry } from "../../solver/graph/session.ts";
import { temporaryDir } from "../support/store.ts";

const METHOD = { path: "/test.Service/Method", input: StatSchema, output: StatSchema };

describe("calls", () => {
  let server: Server;
  let handler: Handler;
  let faults: unknown[];
  const { signal } = new AbortController();

  beforeEach(async () => {
    faults = [];
    server = createServer({ allowHalfOpen: true }, (socket) => {
      serveRpc(socket, new Map([[METHOD.path, (call: Call) => handler(call)]]), {
        onFault: (error) => faults.push(error),
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => {
    server.close();
  });

  const dial = () => dialHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1"));
  /** A call that answers with one message. */
  async function ask(path = "x", metadata = {}) {
    const session = dial();
    try {
      return await callUnary(session, METHOD, create(StatSchema, { path }), { signal, metadata });
    } finally {
      session.close();
    }
  }

  it("carry messages, and headers that repeat", async () => {
    handler = unary(StatSchema, StatSchema, async ({ path }, call) =>
      create(StatSchema, { path: [path, ...call.header("followpaths")].join("|") }),
    );
    assert.equal((await ask("a", { followpaths: ["b,c", "d"] })).path, "a|b,c|d");
  });

  it("end with the code, the words and the details of an error", async () => {
    const detail = { typeUrl: "of/test+json", value: Buffer.from('{"a":"ü"}') };
    handler = async () => {
      throw new RpcError(CODE.NOT_FOUND, "not there: 100 % ü\n", [detail]);
    };
    await assert.rejects(ask(), (error) => {
      assert.ok(error instanceof RpcError);
      assert.deepEqual([error.code, error.message], [CODE.NOT_FOUND, "not there: 100 % ü\n"]);
      assert.deepEqual(
        error.details.map(({ typeUrl, value }) => [typeUrl, Buffer.from(value).toString()]),
        [["of/test+json", '{"a":"ü"}']],
      );
      return true;
    });
    assert.deepEqual(faults, []);
  });

  it("end with words that headers could not have", async () => {
    const failsWith = async (message: string): Promise<string> => {
      handler = async () => {
        throw new RpcError(CODE.UNKNOWN, message, [{ typeUrl: "of/test+json", value: Buffer.from("{}") }]);
      };
      const error = await ask().catch((reason: unknown) => reason);
      assert.ok(error instanceof RpcError && error.code === CODE.UNKNOWN);
      return error.message;
    };
    for (const message of [" is a blank", "blank behind ", " ", ""])
      assert.equal(await failsWith(message), message);
    const long = await failsWith("ü".repeat(1_000_000));
    assert.match(long, /^ü{5000,}…$/);
  });

  it("tell a fault of ours as INTERNAL, and an unknown method as UNIMPLEMENTED", async () => {
    handler = async () => {
      throw new TypeError("a bug");
    };
    await assert.rejects(ask(), { code: CODE.INTERNAL, message: "a bug" });
    assert.equal(faults.length, 1);
    const session = dial();
    const other = { ...METHOD, path: "/test.Service/Other" };
    await assert.rejects(callUnary(session, other, create(StatSchema), { signal }), {
      code: CODE.UNIMPLEMENTED,
    });
    session.close();
  });

  it("refuse what is no message, too long, compressed or cut off", async () => {
    handler = unary(StatSchema, StatSchema, async () => create(StatSchema));
    const raw = (bytes: Uint8Array): Promise<unknown> => {
      const session = dial();
      const call = openCall(session, METHOD.path, { signal });
      call.stream.end(bytes);
      return (async () => {
        for await (const _ of call.messages());
      })().finally(() => session.close());
    };
    const head = (flag: number, length: number): Buffer => {
      const bytes = Buffer.alloc(5);
      bytes[0] = flag;
      bytes.writeUInt32BE(length, 1);
      return bytes;
    };
    await assert.rejects(raw(framed(Buffer.from([0xff, 0xff]))), { code: CODE.INVALID_ARGUMENT });
    await assert.rejects(raw(head(0, MESSAGE_MAX_BYTES + 1)), { code: CODE.RESOURCE_EXHAUSTED });
    await assert.rejects(raw(Buffer.concat([head(1, 1), Buffer.from("x")])), { code: CODE.UNIMPLEMENTED });
    await assert.rejects(raw(head(0, 10)), { code: CODE.INTERNAL });
    await assert.rejects(raw(Buffer.alloc(0)), { code: CODE.INVALID_ARGUMENT });
    assert.equal((await ask()).path, "");
    assert.deepEqual(faults, []);
  });

  it("outlive clients that send garbage or go away at any moment", async () => {
    handler = unary(StatSchema, StatSchema, async () => create(StatSchema));
    const { port } = server.address() as AddressInfo;
    for (const bytes of [
      "",
      "GET / HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${"\xff".repeat(100)}`,
    ]) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      socket.end(Buffer.from(bytes, "latin1"));
      await new Promise((resolve) => setTimeout(resolve, 20));
      socket.destroy();
    }
    const session = dial();
    openCall(session, METHOD.path, { signal }).cancel();
    (openCall(session, METHOD.path, { signal }).stream as ClientHttp2Stream).close(
      constants.NGHTTP2_INTERNAL_ERROR,
    );
    session.destroy();
    assert.equal((await ask()).path, "");
    assert.deepEqual(faults, []);
  });

  it("are told when they are cancelled or late", async () => {
    const reasons: unknown[] = [];
    handler = (call) =>
      new Promise((_, reject) => {
        call.signal.addEventListener("abort", () => {
          reasons.push((call.signal.reason as RpcError).code);
          reject(call.signal.reason as Error);
        });
      });
    await assert.rejects(ask("x", { "grpc-timeout": "20m" }), { code: CODE.DEADLINE_EXCEEDED });
    const session = dial();
    const controller = new AbortController();
    const cancelled = callUnary(session, METHOD, create(StatSchema), { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 50);
    await assert.rejects(cancelled, { message: "enough" });
    for (let tries = 0; tries < 100 && reasons.length < 2; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    session.close();
    assert.deepEqual(reasons, [CODE.DEADLINE_EXCEEDED, CODE.CANCELLED]);
  });

  it("hold a connection of their own, in the other direction", async () => {
    const inner = new Map([
      [
        METHOD.path,
        unary(StatSchema, StatSchema, async ({ path }) => create(StatSchema, { path: `inner ${path}` })),
      ],
    ]);
    let answered = "";
    handler = async (call) => {
      call.begin();
      const session = dialHttp2(openTunnel(call, { onEnd: () => {} }));
      // More than one message of the tunnel, and than a window.
      const path = "x".repeat(3_000_000);
      const { path: answer } = await callUnary(session, METHOD, create(StatSchema, { path }), { signal });
      answered = answer;
      session.close();
    };
    const session = dial();
    const call = openCall(session, METHOD.path, { signal });
    serveRpc(openTunnel(call, { onEnd: () => call.end() }), inner, {
      onFault: (error) => faults.push(error),
    });
    for (let tries = 0; tries < 500 && answered === ""; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    session.destroy();
    assert.equal(answered.length, 3_000_006);
    assert.deepEqual(faults, []);
  });
});

describe("files in packets", () => {
  it("arrive with their kinds, modes and contents, those that are asked for", async () => {
    using dir = temporaryDir();
    const root = dir.at("tree");
    mkdirSync(join(root, "sub"), { recursive: true, mode: 0o755 });
    writeFileSync(join(root, "sub/large"), "l".repeat(3_000_000), { mode: 0o640 });
    writeFileSync(join(root, "a"), "a");
    writeFileSync(join(root, "ü"), "");
    symlinkSync("sub/large", join(root, "link"));
    const { left, right } = pair();
    const sending = sendFiles(left, root);
    const transfer = receiveFiles(right);
    const entries: FileEntry[] = [];
    for await (const some of transfer.listing()) entries.push(...some);
    assert.deepEqual(
      entries.map(({ path, type, mode, linkName }) => [path, type, mode.toString(8), linkName]),
      [
        ["a", "file", "644", ""],
        ["link", "symlink", "777", "sub/large"],
        ["sub", "directory", "755", ""],
        ["sub/large", "file", "640", ""],
        ["ü", "file", "644", ""],
      ],
    );
    const got = new Map<number, number>();
    for await (const pieces of transfer.contents([3, 4]))
      for (const { index, data } of pieces) got.set(index, (got.get(index) ?? 0) + (data?.length ?? 0));
    await transfer[Symbol.asyncDispose]();
    await sending;
    assert.deepEqual(
      [...got],
      [
        [3, 3_000_000],
        [4, 0],
      ],
    );
    assert.equal(readFileSync(join(root, "a"), "utf8"), "a");
  });

  it("are refused when they are not what was asked for", async () => {
    const hostile = async (packets: readonly object[], wanted: readonly number[]): Promise<void> => {
      const { left, right } = pair();
      for (const packet of packets) await left.send(toBinary(PacketSchema, create(PacketSchema, packet)));
      const transfer = receiveFiles(right);
      for await (const _ of transfer.listing());
      for await (const _ of transfer.contents(wanted));
    };
    const file = { type: 0, stat: create(StatSchema, { path: "a", mode: 0o644, size: 1n }) };
    const end = { type: 0 };
    await assert.rejects(hostile([{ type: 2, ID: 0, data: Buffer.from("x") }], []), {
      code: CODE.INVALID_ARGUMENT,
    });
    await assert.rejects(hostile([file, end, { type: 2, ID: 7, data: Buffer.from("x") }], [0]), {
      code: CODE.INVALID_ARGUMENT,
    });
    await assert.rejects(hostile([file, end, { type: 4, data: Buffer.from("no such file") }], [0]), {
      message: "error from sender: no such file",
    });
    // Single bytes of a file that is not the next one, for ever.
    const second = { type: 0, stat: create(StatSchema, { path: "b", mode: 0o644, size: 1n }) };
    const byte = framed(
      toBinary(PacketSchema, create(PacketSchema, { type: 2, ID: 1, data: Buffer.from("x") })),
    );
    const { left, right } = pair();
    const listing: readonly object[] = [file, second, end];
    for (const packet of listing) await left.send(toBinary(PacketSchema, create(PacketSchema, packet)));
    left.stream.write(Buffer.concat(Array.from({ length: 300_000 }, () => byte)));
    const transfer = receiveFiles(right);
    for await (const _ of transfer.listing());
    await assert.rejects(
      async () => {
        for await (const _ of transfer.contents([0, 1]));
      },
      { code: CODE.RESOURCE_EXHAUSTED },
    );
  });
});

/** Two ends of one call, without a connection. */
function pair() {
  const [there, back] = [
    new PassThrough({ highWaterMark: 64 << 20 }),
    new PassThrough({ highWaterMark: 64 << 20 }),
  ];
  const end = (out: PassThrough, from: PassThrough) => ({
    send: async (message: Uint8Array) => void out.write(framed(message)),
    sendAll: async (messages: readonly Uint8Array[]) => void out.write(Buffer.concat(messages.map(framed))),
    end: () => void out.end(),
    batches: () => readBatches(from),
    cancel: () => void out.destroy(),
    stream: out,
  });
  return { left: end(there, back), right: end(back, there) };
}
