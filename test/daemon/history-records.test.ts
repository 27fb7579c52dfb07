// The build history by direct calls: what records say, who is told, and what is kept how long.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { createServer, connect, type AddressInfo, type Server } from "node:net";
import { contentHandlers } from "../../bin/daemon/content.ts";
import { healthHandlers } from "../../bin/daemon/health.ts";
import { logOf } from "../../bin/daemon/history-blobs.ts";
import { historyFilter } from "../../bin/daemon/history-filter.ts";
import { described } from "../../bin/daemon/history-privacy.ts";
import { withoutCredentials } from "../../bin/without-credentials.ts";
import { type Ending, type History, openHistory } from "../../bin/daemon/history.ts";
import { openHistoryStore } from "../../bin/daemon/history-store.ts";
import { openStatusStream, type StatusStream } from "../../bin/daemon/status-stream.ts";
import { traceHandlers } from "../../bin/daemon/trace.ts";
import { callUnary, openCall } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import {
  InfoRequestSchema,
  InfoResponseSchema,
  ListContentRequestSchema,
  ListContentResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  WriteContentRequestSchema,
} from "../../bin/wire/messages/containerd/services/content/v1/content_pb.ts";
import { StatusSchema } from "../../bin/wire/messages/google/rpc/status_pb.ts";
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
  HealthCheckResponseSchema,
} from "../../bin/wire/messages/grpc/health/v1/health_pb.ts";
import {
  type BuildHistoryEvent,
  BuildHistoryEventSchema,
  BuildHistoryEventType as EventType,
  BuildHistoryRecordSchema,
  BuildHistoryRequestSchema,
  SolveRequestSchema,
  type StatusResponse,
  StatusResponseSchema,
  UpdateBuildHistoryRequestSchema,
  UpdateBuildHistoryResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import { type Call, serveRpc } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";
import { timestamp } from "../../bin/wire/timestamp.ts";
import { type OpenStore, openStore } from "../../cache/store.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { freshDirectory, never } from "../cache/store-support.ts";

const CONTROL = "/moby.buildkit.v1.Control";
const CONTENT = "/containerd.services.content.v1.Content";
const GOOD: Ending = { response: {}, exported: [], provenance: null, error: null };
const STEP = digestOf("a step");

describe("build history", () => {
  const dir = freshDirectory();
  let store: OpenStore;
  let history: History;
  let logged: string[];
  let server: Server;
  let draining: AbortController;
  let session: ReturnType<typeof dialHttp2>;
  const signal = never();

  beforeEach(async () => {
    logged = [];
    draining = new AbortController();
    store = await openStore(dir());
    history = begin();
    server = createServer({ allowHalfOpen: true }, (socket) => {
      const handlers = new Map([
        ...[...history.handlers.keys()].map(
          (path) => [path, (call: Call) => history.handlers.get(path)?.(call) ?? Promise.resolve()] as const,
        ),
        ...contentHandlers(store.history),
        ...healthHandlers(draining.signal),
        ...traceHandlers(),
      ]);
      serveRpc(socket, handlers, { onFault: (error) => logged.push(String(error)) });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    session = dialHttp2(connect((server.address() as AddressInfo).port, "127.0.0.1"));
  });
  afterEach(async () => {
    session.destroy();
    server.close();
    await history[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    assert.deepEqual(logged, []);
  });

  const begin = (limits = { maxAgeMs: 3_600_000, maxEntries: 50 }): History =>
    openHistory({ files: store.history, content: store.content, limits, log: (line) => logged.push(line) });
  const recording = (Ref: string, more: object = {}, status: StatusStream = openStatusStream()) =>
    history.begin(create(SolveRequestSchema, { Ref, ...more }), status);
  const built = async (Ref: string, ending: Partial<Ending> = {}, more: object = {}): Promise<void> =>
    await recording(Ref, more)?.complete({ ...GOOD, ...ending });
  const listen = (request: object) => {
    const call = openCall(session, `${CONTROL}/ListenBuildHistory`, { signal });
    void call.send(toBinary(BuildHistoryRequestSchema, create(BuildHistoryRequestSchema, request)));
    call.end();
    return call;
  };
  const events = async (request: object): Promise<BuildHistoryEvent[]> => {
    const all: BuildHistoryEvent[] = [];
    for await (const bytes of listen({ EarlyExit: true, ...request }).messages())
      all.push(fromBinary(BuildHistoryEventSchema, bytes));
    return all;
  };
  const refs = async (request: object): Promise<string[]> =>
    (await events(request)).map(({ record }) => record?.Ref ?? "");
  const update = (request: object) =>
    callUnary(
      session,
      {
        path: `${CONTROL}/UpdateBuildHistory`,
        input: UpdateBuildHistoryRequestSchema,
        output: UpdateBuildHistoryResponseSchema,
      },
      create(UpdateBuildHistoryRequestSchema, request),
      { signal },
    );
  const read = async (digest: string, range: { offset?: bigint; size?: bigint } = {}): Promise<Buffer> => {
    const call = openCall(session, `${CONTENT}/Read`, { signal });
    await call.send(
      toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest, ...range })),
    );
    call.end();
    const parts: Uint8Array[] = [];
    for await (const bytes of call.messages()) {
      const { offset, data } = fromBinary(ReadContentResponseSchema, bytes);
      assert.equal(offset, (range.offset ?? 0n) + BigInt(Buffer.concat(parts).length));
      parts.push(data);
    }
    return Buffer.concat(parts);
  };
  const logsOf = async (ref: string): Promise<StatusResponse[]> => {
    const all: StatusResponse[] = [];
    for await (const part of (await history.logs(ref)) ?? []) all.push(part);
    return all;
  };

  it("says of a build what was asked, how it went and what came of it", async () => {
    const status = openStatusStream();
    const vertex = { vertex: STEP, atMs: 1_700_000_000_000 } as const;
    status.event({ kind: "vertex", vertex: STEP, name: "RUN make", inputs: [], at: [] });
    status.event({ kind: "vertex", vertex: digestOf("other"), name: "COPY", inputs: [], at: [] });
    status.event({ kind: "started", ...vertex });
    status.event({ kind: "log", ...vertex, fd: 1, data: Buffer.from("made\n") });
    status.event({ kind: "warning", rule: "R", message: "m", detail: "", url: "", at: [] });
    status.event({ kind: "cached", vertex: digestOf("other"), atMs: vertex.atMs });
    const own = recording(
      "one",
      {
        FrontendAttrs: { target: "t", "build-arg:URL": "https://u:p@h/x" },
        Exporters: [
          { Type: "local", Attrs: {} },
          { Type: "image", Attrs: { name: "app", token: "t" } },
        ],
      },
      status,
    );
    const [running] = await events({ ActiveOnly: true });
    assert.equal(running?.type, EventType.STARTED);
    assert.deepEqual([running.record?.numTotalSteps, running.record?.numCachedSteps], [2, 1]);
    status.event({ kind: "done", ...vertex });
    status.end();
    const layer = store.content.put(Buffer.from("layer of the image"));
    const put = (value: unknown) => {
      const data = Buffer.from(JSON.stringify(value));
      return { digest: store.content.put(data), size: data.length };
    };
    const config = put({ architecture: "amd64" });
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = put({
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layer, size: 18 }],
    });
    await own?.complete({
      response: { "image.name": "app" },
      exported: [null, { mediaType, ...manifest }],
      provenance: null,
      error: null,
    });
    const [event] = await events({ Ref: "one" });
    const record = event?.record;
    assert.ok(record !== undefined && event?.type === EventType.COMPLETE);
    assert.deepEqual(record.FrontendAttrs, { target: "t", "build-arg:URL": "https://xxxxx:xxxxx@h/x" });
    assert.deepEqual(
      record.Exporters.map(({ Type, Attrs }) => [Type, Attrs]),
      [
        ["local", {}],
        ["image", { name: "app" }],
      ],
    );
    assert.deepEqual(record.ExporterResponse, { "image.name": "app" });
    const { numTotalSteps, numCompletedSteps, numCachedSteps, numWarnings } = record;
    assert.deepEqual([numTotalSteps, numCompletedSteps, numCachedSteps, numWarnings], [2, 2, 1, 1]);
    assert.ok(
      record.CreatedAt !== undefined && record.CompletedAt !== undefined && record.error === undefined,
    );
    assert.equal(record.Result?.Results["1"]?.digest, manifest.digest);
    assert.equal(record.Result?.ResultDeprecated?.mediaType, mediaType);
    // The documents of the image can be read, and stay when the image goes; its layers never could.
    assert.match((await read(manifest.digest)).toString(), /"config"/);
    assert.equal((await read(config.digest)).toString(), '{"architecture":"amd64"}');
    await assert.rejects(read(layer), { code: CODE.NOT_FOUND });
    assert.equal(record.logs?.mediaType, "application/vnd.buildkit.status.v0");
    const log = await read(record.logs?.digest ?? "");
    assert.equal(BigInt(log.length), record.logs?.size);
    const first = log.subarray(4, 4 + log.readUInt32LE());
    assert.ok(first.includes("RUN make"));
    const replayed = await logsOf("one");
    assert.equal(Buffer.from(replayed.flatMap(({ logs }) => logs)[0]?.msg ?? []).toString(), "made\n");
  });

  it("keeps the error of a build apart from its details, and tells a cancelled one", async () => {
    const detail = { typeUrl: "of/test+json", value: Buffer.from("{}") };
    await built("bad", { error: new RpcError(CODE.UNKNOWN, "no: https://u:p@h/ failed", [detail]) });
    await built("gone", { error: new RpcError(CODE.CANCELLED, "context canceled") });
    const [bad] = await events({ Ref: "bad" });
    assert.deepEqual([bad?.record?.error?.code, bad?.record?.error?.details], [CODE.UNKNOWN, []]);
    const { externalError } = bad?.record ?? {};
    assert.equal(externalError?.mediaType, "application/vnd.googeapis.google.rpc.status+proto");
    const whole = fromBinary(StatusSchema, await read(externalError?.digest ?? ""));
    assert.equal(whole.message, "no: https://xxxxx:xxxxx@h/ failed");
    assert.equal(whole.details[0]?.typeUrl, detail.typeUrl);
    assert.deepEqual(await refs({ Filter: ["status==canceled"] }), ["gone"]);
    assert.deepEqual(await refs({ Filter: ["status==error"] }), ["bad"]);
  });

  it("has no record of a build that is to be kept out of it", async () => {
    assert.equal(recording("probe", { Internal: true }), null);
    assert.deepEqual(await refs({}), []);
  });

  it("tells who listens what begins, ends, changes and goes", async () => {
    await built("before");
    const call = listen({});
    let seen: readonly [EventType, string][] = [];
    const reading = (async () => {
      for await (const bytes of call.messages()) {
        const { type, record } = fromBinary(BuildHistoryEventSchema, bytes);
        seen = [...seen, [type, record?.Ref ?? ""]];
        if (record?.Ref === "last") return;
      }
    })();
    while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await built("now");
    await update({ Ref: "now", Pinned: true });
    await update({ Ref: "before", Delete: true });
    recording("last");
    await reading;
    call.cancel();
    assert.deepEqual(seen, [
      [EventType.COMPLETE, "before"],
      [EventType.STARTED, "now"],
      [EventType.COMPLETE, "now"],
      [EventType.COMPLETE, "now"],
      [EventType.DELETED, "before"],
      [EventType.STARTED, "last"],
    ]);
    await history.begin(create(SolveRequestSchema, { Ref: "last" }), openStatusStream())?.complete(GOOD);
  });

  it("answers a Ref nobody knows with nothing, and with the daemon's clock", async () => {
    const call = listen({ Ref: "buildx-test-history-api-feature", ActiveOnly: true, EarlyExit: true });
    const headers = new Promise<Record<string, unknown>>((resolve) => {
      call.stream.once("response", resolve as () => void);
    });
    for await (const _ of call.messages()) assert.fail("there is nothing to tell");
    const clock = (await headers)["buildkit-current-timestamp"];
    assert.match(String(clock), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
  });

  it("gives the newest first when there is a limit, and takes no limit below zero", async () => {
    for (const ref of ["a", "b", "c"]) {
      await built(ref);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    assert.deepEqual(await refs({ Limit: 2 }), ["c", "b"]);
    assert.deepEqual((await refs({})).sort(), ["a", "b", "c"]);
    await assert.rejects(events({ Limit: -1 }), { code: CODE.INVALID_ARGUMENT });
    await assert.rejects(events({ Filter: ["ref+x"] }), {
      code: CODE.INVALID_ARGUMENT,
      message: /parse error/,
    });
  });

  it("does not let one who listens and does not read hold builds up, nor pile up what it was to be told", async () => {
    const call = listen({});
    call.stream.pause();
    for (let n = 0; n < 50; n++) await built("warm", {}, { FrontendAttrs: { a: "x".repeat(30_000) } });
    const begun = Date.now();
    // More than a window and the queue: 30 KB each.
    for (let n = 0; n < 1_500; n++) recording(`n${n}`, { FrontendAttrs: { a: "x".repeat(30_000) } });
    assert.ok(Date.now() - begun < 10_000);
    let count = 0;
    await assert.rejects(
      (async () => {
        for await (const _ of call.messages()) count++;
      })(),
      { code: CODE.RESOURCE_EXHAUSTED },
    );
    assert.ok(count > 100 && count < 1_500, String(count));
  });

  it("ends the streams of who listens when the daemon ends, after the last build", async () => {
    const call = listen({});
    const ended = (async () => {
      for await (const _ of call.messages());
    })();
    const own = recording("a");
    history.drain();
    await own?.complete(GOOD);
    await ended;
  });

  it("pins and unpins, finalizes at once, and says which build there is not", async () => {
    await built("a");
    await update({ Ref: "a", Pinned: true });
    const [pinned] = await events({});
    assert.deepEqual([pinned?.record?.pinned, pinned?.record?.Generation], [true, 1]);
    await update({ Ref: "a", Finalize: true });
    await update({ Ref: "a", Pinned: false });
    assert.equal((await events({}))[0]?.record?.pinned, false);
    assert.ok((await logsOf("a")) !== null);
    await assert.rejects(update({ Ref: "b", Pinned: true }), { code: CODE.NOT_FOUND });
    await assert.rejects(update({ Ref: "b", Delete: true }), { code: CODE.NOT_FOUND });
  });

  it("is there for the next daemon, logs and all, and was deleted for all", async () => {
    const status = openStatusStream();
    status.event({ kind: "vertex", vertex: STEP, name: "RUN make", inputs: [], at: [] });
    status.end();
    await recording("kept", {}, status)?.complete(GOOD);
    await built("deleted");
    const [record] = await events({ Ref: "deleted" });
    await update({ Ref: "deleted", Delete: true });
    await history[Symbol.asyncDispose]();
    history = begin();
    assert.deepEqual(await refs({}), ["kept"]);
    assert.equal((await logsOf("kept"))[0]?.vertexes[0]?.name, "RUN make");
    assert.equal(await history.logs("deleted"), null);
    // The log of a build without steps is empty, and "kept" has another.
    await assert.rejects(read(record?.record?.logs?.digest ?? ""), { code: CODE.NOT_FOUND });
  });

  it("goes when it is both old and beyond the number; what is pinned stays and is not counted", async () => {
    const kept = openHistoryStore(store.history);
    const hour = 3_600_000;
    const nowMs = 1_700_000_000_000;
    const save = (Ref: string, hoursAgo: number, pinned = false): Promise<void> =>
      kept.save(
        create(BuildHistoryRecordSchema, { Ref, pinned, CompletedAt: timestamp(nowMs - hoursAgo * hour) }),
        [],
      );
    for (const [ref, age] of [
      ["new", 1],
      ["newer", 0],
      ["old", 60],
      ["older", 70],
      ["oldest", 90],
    ] as const)
      await save(ref, age);
    await save("pinned", 100, true);
    const tidy = (maxEntries: number) => kept.tidy({ maxAgeMs: 48 * hour, maxEntries }, { nowMs, signal });
    assert.deepEqual(await tidy(5), []);
    assert.deepEqual(await tidy(4), ["oldest"]);
    assert.deepEqual(await tidy(1), ["old", "older"]);
    assert.deepEqual((await refs({})).sort(), ["new", "newer", "pinned"]);
  });

  it("clips logs that are too long and says so, and keeps the steps", async () => {
    const status = openStatusStream();
    const vertex = { vertex: STEP, atMs: 1_700_000_000_000 } as const;
    status.event({ kind: "vertex", vertex: STEP, name: "RUN yes", inputs: [], at: [] });
    status.event({ kind: "started", ...vertex });
    // Few bytes in very many messages: it is the messages that count here.
    for (let n = 0; n < 100_000; n++)
      status.event({ kind: "log", ...vertex, fd: 1, data: Buffer.from(`${n}\n`) });
    status.event({ kind: "done", ...vertex });
    status.end();
    assert.ok(status.kept().length < 70_000);
    await recording("yes", {}, status)?.complete(GOOD);
    const [event] = await events({ Ref: "yes" });
    assert.ok(Number(event?.record?.logs?.size) <= 16 << 20);
    const parts = await logsOf("yes");
    const texts = parts.flatMap(({ logs }) => logs.map(({ msg }) => Buffer.from(msg).toString()));
    assert.match(texts[0] ?? "", /^\[output clipped: the daemon keeps the last part/);
    assert.equal(texts.at(-1), "99999\n");
    assert.ok(parts.at(-1)?.vertexes[0]?.completed !== undefined);
  });

  it("clips a log of very many steps, too", async () => {
    const name = "n".repeat(5_000);
    const parts = [
      ...Array.from({ length: 3_000 }, (_, n) =>
        create(StatusResponseSchema, { vertexes: [{ digest: String(n), name }] }),
      ),
      ...Array.from({ length: 1_000 }, () =>
        create(StatusResponseSchema, { logs: [{ vertex: "1", msg: Buffer.alloc(2_000) }] }),
      ),
    ];
    const { data } = await logOf(parts);
    assert.ok(data.length <= 16 << 20 && data.length > 15 << 20);
    assert.match(Buffer.from(data).toString("latin1"), /\[output clipped: the history keeps the last part/);
  });

  it("gives content in ranges and chunks, lists it, and refuses whatever writes", async () => {
    const large = Buffer.alloc(2_500_000, "abc");
    await store.history.put("x", new Uint8Array(), [large]);
    const digest = digestOf(large);
    assert.deepEqual(await read(digest), large);
    assert.deepEqual(
      await read(digest, { offset: 1_200_000n, size: 1_100_000n }),
      large.subarray(1_200_000, 2_300_000),
    );
    await assert.rejects(read(digest, { offset: 2_500_001n }), { code: CODE.INVALID_ARGUMENT });
    await assert.rejects(read(digest, { offset: -1n }), { code: CODE.INVALID_ARGUMENT });
    await assert.rejects(read("../../version"), { code: CODE.NOT_FOUND });
    const info = { path: `${CONTENT}/Info`, input: InfoRequestSchema, output: InfoResponseSchema };
    const told = await callUnary(session, info, create(InfoRequestSchema, { digest }), { signal });
    assert.deepEqual([told.info?.digest, told.info?.size], [digest, 2_500_000n]);
    const list = openCall(session, `${CONTENT}/List`, { signal });
    await list.send(toBinary(ListContentRequestSchema, create(ListContentRequestSchema)));
    list.end();
    const listed: string[] = [];
    for await (const bytes of list.messages())
      listed.push(...fromBinary(ListContentResponseSchema, bytes).info.map((one) => one.digest));
    assert.deepEqual(listed, [digest]);
    for (const method of ["Write", "Delete", "Update", "Abort"]) {
      const call = openCall(session, `${CONTENT}/${method}`, { signal });
      await call.send(toBinary(WriteContentRequestSchema, create(WriteContentRequestSchema, { ref: "x" })));
      await assert.rejects(
        (async () => {
          for await (const _ of call.messages());
        })(),
        { code: CODE.FAILED_PRECONDITION, message: "read-only content store" },
      );
    }
  });

  it("does not show in the health of the daemon, which can be watched until it ends", async () => {
    const check = {
      path: "/grpc.health.v1.Health/Check",
      input: HealthCheckRequestSchema,
      output: HealthCheckResponseSchema,
    };
    const healthy = (service = "") =>
      callUnary(session, check, create(HealthCheckRequestSchema, { service }), { signal });
    assert.equal((await healthy()).status, Serving.SERVING);
    await assert.rejects(healthy("other"), { code: CODE.NOT_FOUND });
    const watch = openCall(session, "/grpc.health.v1.Health/Watch", { signal });
    await watch.send(new Uint8Array());
    watch.end();
    const seen: Serving[] = [];
    for await (const bytes of watch.messages()) {
      seen.push(fromBinary(HealthCheckResponseSchema, bytes).status);
      draining.abort();
    }
    assert.deepEqual(seen, [Serving.SERVING, Serving.NOT_SERVING]);
    assert.equal((await healthy()).status, Serving.NOT_SERVING);
  });

  it("takes the spans of clients", async () => {
    const call = openCall(session, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", { signal });
    await call.send(Buffer.from([0x0a, 0x00]));
    call.end();
    const answers: Uint8Array[] = [];
    for await (const bytes of call.messages()) answers.push(bytes);
    assert.deepEqual(
      answers.map(({ length }) => length),
      [0],
    );
  });
});

describe("filters of the history", () => {
  const nowMs = Date.parse("2026-01-02T00:00:00Z");
  const hour = 3_600_000;
  const RECORDS = [
    { Ref: "foo123", began: 24, tookMs: 60_000, attributes: {} },
    { Ref: "bar456", began: 23, tookMs: null, attributes: { context: "https://h/user/repo.git#abc" } },
    { Ref: "foo789", began: 22, tookMs: 600_000, attributes: { "vcs:source": "testrepo" } },
  ].map(({ Ref, began, tookMs, attributes }) =>
    create(BuildHistoryRecordSchema, {
      Ref,
      FrontendAttrs: attributes as Record<string, string>,
      CreatedAt: timestamp(nowMs - began * hour),
      ...(tookMs === null ? {} : { CompletedAt: timestamp(nowMs - began * hour + tookMs) }),
    }),
  );
  const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ["everything without one", [], ["foo123", "bar456", "foo789"]],
    ["everything by an empty one", [""], ["foo123", "bar456", "foo789"]],
    ["a Ref as a whole", ["ref==foo"], []],
    ["a part of it", ["ref~=foo"], ["foo123", "foo789"]],
    ["an expression", ["ref~=^foo[0-3]+$"], ["foo123"]],
    ["an expression in slashes", ["ref~=/^foo[0-3]+$/"], ["foo123"]],
    ["a text in quotes", ['"ref==""foo123"""'], ["foo123"]],
    ["a repository, also of a context", ["repository==https://h/user/repo.git"], ["bar456"]],
    ["another repository, or none", ["repository!=testrepo"], ["foo123", "bar456"]],
    ["what has a repository", ["repository"], ["bar456", "foo789"]],
    ["what runs", ["status==running"], ["bar456"]],
    ["several at once", ["repository!=testrepo,ref~=foo"], ["foo123"]],
    ["one or the other", ["ref==foo123", "status==running"], ["foo123", "bar456"]],
    ["what ended lately", ["completedAt>23h"], ["foo789"]],
    ["what began long ago", ["startedAt<23h"], ["foo123"]],
    ["a moment", ["startedAt<=2026-01-01T01:00:00Z"], ["foo123", "bar456"]],
    ["a duration", ["duration>5m"], ["foo789"]],
    ["durations in several units", ["duration<=0h1m0.5s,duration>1ms"], ["foo123"]],
  ];
  for (const [what, filters, expected] of cases)
    it(`find ${what}`, async () => {
      const matches = await historyFilter(filters, nowMs);
      assert.deepEqual(
        RECORDS.filter(matches).map(({ Ref }) => Ref),
        expected,
      );
    });

  it("are refused in words when they are none", async () => {
    for (const text of [
      "ref+foo",
      "startedAt>yesterday",
      "duration>1",
      "ref~=(",
      'ref=="x',
      '"ref==x',
      "ref==a b",
    ])
      await assert.rejects(historyFilter([text], nowMs), { code: CODE.INVALID_ARGUMENT }, text);
    await assert.rejects(historyFilter([`ref~=${"x".repeat(5_000)}`], nowMs), {
      code: CODE.INVALID_ARGUMENT,
    });
  });

  it("take no longer for an expression that goes back and forth", async () => {
    const matches = await historyFilter(["ref~=^(a+)+$"], nowMs);
    const begun = Date.now();
    assert.equal(matches(create(BuildHistoryRecordSchema, { Ref: `${"a".repeat(10_000)}b` })), false);
    assert.ok(Date.now() - begun < 2_000);
  });
});

describe("what the history keeps of a request", () => {
  it("is without passwords and tokens in URLs", () => {
    const cases: readonly (readonly [string, string])[] = [
      ["https://user:pass@host/a.git#main", "https://xxxxx:xxxxx@host/a.git#main"],
      ["https://token@host/a", "https://xxxxx@host/a"],
      ["ssh://git@host/a", "ssh://git@host/a"],
      ["ssh://git:pass@host/a", "ssh://git:xxxxx@host/a"],
      ["git@host:a.git", "git@host:a.git"],
      ["a=http://u:p@h:1,b=http://u:p@h:2", "a=http://xxxxx:xxxxx@h:1,b=http://xxxxx:xxxxx@h:2"],
      ["https://u:p@ss@h/", "https://xxxxx:xxxxx@h/"],
      ["https://h/x?token=t&a=b&X-Amz-Signature=s#f", "https://h/x?token=xxxxx&a=b&X-Amz-Signature=xxxxx#f"],
      ["https://h/a@b?mail=a@b", "https://h/a@b?mail=a@b"],
      ["no URL: a?token=t", "no URL: a?token=t"],
    ];
    for (const [text, expected] of cases) assert.equal(withoutCredentials(text), expected);
  });

  it("takes time linear in the text", () => {
    const begun = Date.now();
    for (const text of ["://", "a://b@", "://?", "?&=", "a"])
      withoutCredentials(`://${text.repeat(1_000_000 / text.length)}`);
    assert.ok(Date.now() - begun < 3_000);
  });

  it("is without the secrets of caches and exporters", () => {
    const imports = JSON.stringify([
      { Type: "s3", Attrs: { bucket: "b", secret_access_key: "s", access_key_id: "i", session_token: "t" } },
      { Type: "gha", Attrs: { scope: "main", token: "t", ghtoken: "t", url: "https://u:p@h/" } },
    ]);
    const { attributes, exporters } = described({ "cache-imports": imports, "build-arg:TOKEN": "kept" }, [
      { Type: "image", Attrs: { name: "a", secret_access_key: "s", "annotation.token": "kept" } },
    ]);
    assert.deepEqual(JSON.parse(attributes["cache-imports"] ?? ""), [
      { Type: "s3", Attrs: { bucket: "b" } },
      { Type: "gha", Attrs: { scope: "main", url: "https://xxxxx:xxxxx@h/" } },
    ]);
    assert.equal(attributes["build-arg:TOKEN"], "kept");
    assert.deepEqual({ ...exporters[0]?.Attrs }, { name: "a", "annotation.token": "kept" });
    assert.equal(described({ "cache-imports": "no JSON with a token" }, []).attributes["cache-imports"], "");
  });

  it("is bounded, and says what it leaves out", () => {
    const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`label:${n}`, "x".repeat(100)]));
    const { attributes } = described({ ...many, target: "t", "build-arg:LONG": "x".repeat(1 << 20) }, []);
    assert.equal(attributes["target"], "t");
    assert.equal(attributes["build-arg:LONG"], `(${1 << 20} bytes, left out of the history)`);
    const bytes = Object.entries(attributes).reduce(
      (sum, [name, value]) => sum + name.length + value.length,
      0,
    );
    assert.ok(bytes <= 256 << 10);
    assert.equal(
      described(JSON.parse('{"__proto__":"x"}') as Record<string, string>, []).attributes["__proto__"],
      "x",
    );
  });
});
