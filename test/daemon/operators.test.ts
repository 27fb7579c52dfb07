// What operators of a daemon see: metrics at its debug address, and spans of its builds at a collector.

import assert from "node:assert/strict";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import PbfReader from "pbf";
import { openWorkshop, type Workshop } from "../build/fixture.ts";
import { BASE, type DaemonShop, openDaemonShop, sh } from "../support/daemon.ts";
import { buildOn } from "../support/daemon-client.ts";

interface Received {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | boolean>>;
  readonly isError: boolean;
  readonly service: string;
}

/** A collector: POST /v1/traces takes ExportTraceServiceRequest (opentelemetry-proto, trace.proto). */
async function openCollector(): Promise<
  AsyncDisposable & { readonly url: string; readonly spans: Received[] }
> {
  const spans: Received[] = [];
  const server: Server = createServer((incoming, response) => {
    const parts: Buffer[] = [];
    incoming.on("data", (part: Buffer) => parts.push(part));
    incoming.on("end", () => {
      const bytes = Buffer.concat(parts);
      const isPacked = incoming.headers["content-encoding"] === "gzip";
      if (incoming.url === "/v1/traces" && incoming.headers["content-type"] === "application/x-protobuf")
        spans.push(...spansIn(isPacked ? gunzipSync(bytes) : bytes));
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** By wire type. */
const READERS: Readonly<Record<number, (reader: PbfReader) => Uint8Array | number>> = {
  0: (reader) => reader.readVarint(),
  1: (reader) => reader.readFixed64(),
  2: (reader) => reader.readBytes(),
  5: (reader) => reader.readFixed32(),
};

/** Fields of a message by their numbers; each may be there several times. */
function fields(bytes: Uint8Array): Map<number, (Uint8Array | number)[]> {
  const found = new Map<number, (Uint8Array | number)[]>();
  const reader = new PbfReader(bytes);
  reader.readFields((tag: number) => {
    const values = found.get(tag) ?? [];
    found.set(tag, values);
    values.push(READERS[reader.type]?.(reader) ?? assert.fail(`wire type ${reader.type}`));
  }, null);
  return found;
}
const messages = (of: ReturnType<typeof fields>, tag: number) =>
  (of.get(tag) ?? []).map((bytes) => fields(bytes as Uint8Array));
const textOf = (of: ReturnType<typeof fields> | undefined, tag: number): string =>
  Buffer.from((of?.get(tag)?.[0] as Uint8Array | undefined) ?? []).toString();

function attributesIn(list: readonly ReturnType<typeof fields>[]): Record<string, string | boolean> {
  return Object.fromEntries(
    list.map((one) => {
      const [value] = messages(one, 2);
      return [textOf(one, 1), value?.has(2) === true ? value.get(2)?.[0] === 1 : textOf(value, 1)];
    }),
  );
}

function spansIn(bytes: Uint8Array): Received[] {
  const hex = (of: ReturnType<typeof fields>, tag: number): string =>
    Buffer.from((of.get(tag)?.[0] as Uint8Array | undefined) ?? []).toString("hex");
  return messages(fields(bytes), 1).flatMap((resourceSpans) => {
    const service = attributesIn(messages(resourceSpans, 1).flatMap((one) => messages(one, 1)))[
      "service.name"
    ];
    return messages(resourceSpans, 2)
      .flatMap((scope) => messages(scope, 2))
      .map((span) => ({
        ...{ traceId: hex(span, 1), spanId: hex(span, 2), parentSpanId: hex(span, 4), name: textOf(span, 5) },
        attributes: attributesIn(messages(span, 9)),
        isError: messages(span, 15)[0]?.get(3)?.[0] === 2,
        service: String(service),
      }));
  });
}

function get(socketPath: string, path: string): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    })
      .on("error", reject)
      .end();
  });
}

describe("operators of tsbuildd", function () {
  this.timeout(60_000);
  let shop: Workshop;
  let worker: DaemonShop;
  let collector: Awaited<ReturnType<typeof openCollector>>;
  const debug = (): string => shop.at("home", "debug.sock");
  const contexts = { good: "", bad: "" };

  before(async () => {
    shop = await openWorkshop();
    collector = await openCollector();
    worker = await openDaemonShop(shop, [`--debugaddr=unix://${debug()}`], {
      env: {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_SERVICE_NAME: "farm",
        OTEL_BSP_SCHEDULE_DELAY: "50",
      },
    });
    contexts.good = worker.context("good", { Dockerfile: `${BASE}${sh("echo made")}` });
    contexts.bad = worker.context("bad", { Dockerfile: `${BASE}${sh("exit 7")}` });
  });
  after(async () => {
    await worker[Symbol.asyncDispose]();
    await collector[Symbol.asyncDispose]();
    shop[Symbol.dispose]();
  });

  it("see a span for each build and each of its steps, in the trace of the client", async () => {
    const stock = worker.start(["build", "--progress=plain", contexts.good]);
    assert.equal((await stock.outcome).code, 0);
    await assert.rejects(buildOn(worker.socket, { context: contexts.bad }), /exit code: 7/);
    // Not "build": a workshop gives that a context called "base".
    const { code, stderr } = await shop.run([
      "b",
      "-q",
      "--builder",
      `unix://${worker.socket}`,
      contexts.good,
    ]);
    assert.equal(code, 0, stderr);
    await until(() => collector.spans.filter(({ name }) => name === "build").length >= 3);
    const builds = collector.spans.filter(({ name }) => name === "build");
    const [first, failed, again] = builds;
    assert.ok(first !== undefined && failed !== undefined && again !== undefined);
    assert.notEqual(first.parentSpanId, "", "buildx says which trace its build is in");
    assert.equal(failed.parentSpanId, "");
    assert.deepEqual(
      builds.map(({ isError, service }) => [isError, service]),
      [
        [false, "farm"],
        [true, "farm"],
        [false, "farm"],
      ],
    );
    const steps = (of: Received): Received[] =>
      collector.spans.filter(({ parentSpanId }) => parentSpanId === of.spanId);
    const run = (of: Received): Received | undefined => steps(of).find(({ name }) => name.includes("RUN"));
    for (const build of builds) {
      assert.ok(
        steps(build).length >= 4,
        steps(build)
          .map(({ name }) => name)
          .join("\n"),
      );
      assert.ok(steps(build).every(({ traceId }) => traceId === build.traceId));
    }
    assert.deepEqual([run(first)?.attributes["tsbuild.cached"], run(first)?.isError], [false, false]);
    assert.equal(run(failed)?.isError, true);
    assert.equal(run(again)?.attributes["tsbuild.cached"], true);
    assert.match(String(run(first)?.attributes["vertex"]), /^sha256:/);
  });

  it("see counts and sizes of the same builds as metrics", async () => {
    const { status, text } = await get(debug(), "/metrics");
    assert.equal(status, 200);
    const value = (name: string): number =>
      Number(
        text
          .split("\n")
          .find((line) => line.startsWith(`${name} `))
          ?.slice(name.length + 1),
      );
    assert.equal(value('tsbuild_builds_total{result="succeeded"}'), 2);
    assert.equal(value('tsbuild_builds_total{result="failed"}'), 1);
    assert.equal(value('tsbuild_builds_total{result="cancelled"}'), 0);
    assert.equal(value('tsbuild_build_duration_seconds_count{result="succeeded"}'), 2);
    assert.equal(value('tsbuild_steps_total{result="failed"}'), 1);
    assert.ok(value('tsbuild_steps_total{result="cached"}') >= 2, text);
    assert.equal(value("tsbuild_builds_running"), 0);
    assert.equal(value("tsbuild_sessions"), 0);
    assert.ok(value("tsbuild_received_bytes_total") > 1_000_000, "busybox alone has more");
    assert.ok(value('tsbuild_store_bytes{kind="layer"}') > 0);
    assert.ok(value("process_resident_memory_bytes") > 0);
    assert.equal((await get(debug(), "/")).status, 404);
  });

  it("see the spans of the command as well, in the trace that its environment names", async () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const env = {
      OTEL_TRACES_EXPORTER: "otlp",
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
      TRACEPARENT: `00-${traceId}-b7ad6b7169203331-01`,
    };
    await shop.ok(["b", "-q", contexts.good], { env });
    const own = collector.spans.filter((span) => span.traceId === traceId);
    const [build] = own.filter(({ name }) => name === "build");
    assert.deepEqual([build?.parentSpanId, build?.service], ["b7ad6b7169203331", "tsbuild"]);
    assert.ok(own.filter(({ parentSpanId }) => parentSpanId === build?.spanId).length >= 4);
  });

  it("are told of a collector that cannot be reached, and builds go on", async () => {
    const timed = async (env: Record<string, string>): Promise<{ stderr: string; ms: number }> => {
      const begunMs = performance.now();
      const { stderr } = await shop.ok(["b", "-q", contexts.good], { env });
      return { stderr, ms: performance.now() - begunMs };
    };
    const plain = await timed({});
    const lost = await timed({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" });
    assert.equal(
      lost.stderr,
      "WARNING: spans are lost: the collector 127.0.0.1:1 cannot be reached (ECONNREFUSED)\n",
    );
    // Half a second, and as much for a machine that is busy; a collector that is slow gets three seconds.
    assert.ok(lost.ms - plain.ms < 1_000, `${lost.ms} ms, and ${plain.ms} ms without`);
    const other = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" };
    const refused = await shop.ok(["b", "-q", contexts.good], { env: other });
    assert.match(
      refused.stderr,
      /WARNING: no traces: the protocol grpc is not supported, only http\/protobuf/,
    );
  });
});

async function until(is: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!is() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
}
