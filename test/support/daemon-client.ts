// Clients of a daemon inside of the process of the test: some dozen at once cost no process each. Their sessions are those of
// `tsbuild build --builder`.

import { randomBytes } from "node:crypto";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { buildRequest } from "../../bin/engine/defaults.ts";
import { buildRemotely } from "../../bin/remote/remote.ts";
import { openCall } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import { framed } from "../../bin/wire/frames.ts";
import {
  BuildHistoryEventSchema,
  BuildHistoryEventType,
  type BuildHistoryRecord,
  BuildHistoryRequestSchema,
  SolveRequestSchema,
  StatusRequestSchema,
  StatusResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import { parseOutput } from "../../exporters/output-grammar.ts";

export const CONTROL = "/moby.buildkit.v1.Control";
/** The client's side of an HTTP/2 connection: preface and empty settings. */
export const PREFACE: Buffer = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

export interface ClientBuild {
  /** A directory of this machine. */
  readonly context: string;
  readonly args?: Readonly<Record<string, string>>;
  /** As for --output; left out: nothing is exported. */
  readonly output?: string;
  readonly call?: "build" | "check";
  readonly signal?: AbortSignal;
  /** Called with all that steps have written so far, at each change. */
  readonly onLog?: (text: string) => void;
}

export interface BuiltByClient {
  /** How many steps the daemon found in its cache. */
  readonly cached: number;
}

/** Builds on the daemon that listens there, over a connection of its own. Throws as buildRemotely does. */
export async function buildOn(socket: string, build: ClientBuild): Promise<BuiltByClient> {
  let log = "";
  const cached = new Set<string>();
  const request = buildRequest({
    context: { kind: "directory", path: build.context },
    buildArgs: new Map(Object.entries(build.args ?? {})),
    outputs: [build.output === undefined ? { kind: "cacheonly" } : parseOutput(build.output)],
    call: { name: build.call ?? "build", format: "text", ignoreStatus: false },
  });
  await buildRemotely(request, {
    address: { kind: "unix", path: socket },
    env: {},
    sharedKey: build.context,
    tokenSecret: "of nobody",
    tempDir: () => {
      throw new Error("these builds need no temporary directory");
    },
    store: () => Promise.reject(new Error("these builds need no store")),
    signal: build.signal ?? new AbortController().signal,
    emit(event) {
      if (event.kind === "cached") cached.add(event.vertex);
      if (event.kind !== "log" || build.onLog === undefined) return;
      log += Buffer.from(event.data).toString();
      build.onLog(log);
    },
    onSource: () => {},
  });
  return { cached: cached.size };
}

/** Work with a connection of its own. */
export async function connectedTo<T>(
  socket: string,
  work: (http: ClientHttp2Session) => Promise<T>,
): Promise<T> {
  const http = dialHttp2(connect(socket));
  try {
    return await work(http);
  } finally {
    http.destroy();
  }
}

/** The records of all builds that have ended. */
export async function historyOf(http: ClientHttp2Session): Promise<BuildHistoryRecord[]> {
  const records: BuildHistoryRecord[] = [];
  const { signal } = new AbortController();
  const call = openCall(http, `${CONTROL}/ListenBuildHistory`, { signal });
  await call.send(
    toBinary(BuildHistoryRequestSchema, create(BuildHistoryRequestSchema, { EarlyExit: true })),
  );
  call.end();
  for await (const bytes of call.messages()) {
    const { type, record } = fromBinary(BuildHistoryEventSchema, bytes);
    if (type === BuildHistoryEventType.COMPLETE && record !== undefined) records.push(record);
  }
  return records;
}

/** How many steps the progress of a build tells of. */
export async function stepsIn(http: ClientHttp2Session, Ref: string): Promise<number> {
  const digests = new Set<string>();
  const { signal } = new AbortController();
  const call = openCall(http, `${CONTROL}/Status`, { signal });
  await call.send(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref })));
  call.end();
  for await (const bytes of call.messages())
    for (const { digest } of fromBinary(StatusResponseSchema, bytes).vertexes) digests.add(digest);
  return digests.size;
}

/** A client that asks for the progress of all builds and reads none of it: the window of its connection fills. Disposing ends it.
 *  `asked`: of how many builds. */
export function watchWithoutReading(
  socket: string,
): Disposable & { readonly ready: Promise<void>; readonly asked: () => number } {
  const { signal } = new AbortController();
  const http = connectHttp2("http://localhost", { createConnection: () => connect(socket) });
  const reader = dialHttp2(connect(socket));
  http.on("error", () => {});
  let asked = 0;
  const call = openCall(reader, `${CONTROL}/ListenBuildHistory`, { signal });
  const ready = new Promise<void>((resolve) => void call.stream.once("response", () => resolve()));
  void (async () => {
    const request = create(BuildHistoryRequestSchema, { ActiveOnly: true });
    await call.send(toBinary(BuildHistoryRequestSchema, request));
    for await (const bytes of call.messages()) {
      const { type, record } = fromBinary(BuildHistoryEventSchema, bytes);
      if (type !== BuildHistoryEventType.STARTED || record === undefined) continue;
      const status = http.request({
        ":method": "POST",
        ":path": `${CONTROL}/Status`,
        "content-type": "application/grpc",
        te: "trailers",
      });
      status.on("error", () => {});
      status.end(framed(toBinary(StatusRequestSchema, create(StatusRequestSchema, { Ref: record.Ref }))));
      asked++;
    }
  })().catch(() => {}); // it is ended while it waits
  return {
    ready,
    asked: () => asked,
    [Symbol.dispose]() {
      http.destroy();
      reader.destroy();
    },
  };
}

/** Connections that say nothing, garbage, or calls whose messages are none. They stay until disposed, unless the daemon ends them. */
export function sendGarbage(socket: string, count: number): Disposable {
  const ends: (() => void)[] = [];
  const raw = (bytes: Uint8Array): void => {
    const stream = connect({ path: socket });
    stream.on("error", () => {});
    stream.resume().write(bytes);
    const isAbrupt = ends.length % 2 === 0;
    ends.push(() => (isAbrupt ? stream.destroy() : stream.end()));
  };
  for (let at = 0; at < count; at++) {
    raw(Buffer.alloc(0));
    raw(randomBytes(1_000));
    raw(Buffer.concat([PREFACE, randomBytes(1_000)]));
    const http = dialHttp2(connect(socket));
    for (const method of ["Solve", "Session", "Status", "Prune", "ListenBuildHistory"]) {
      const call = openCall(http, `${CONTROL}/${method}`, { signal: new AbortController().signal });
      call.stream.write(at % 2 === 0 ? randomBytes(500) : framed(randomBytes(500)));
      call.stream.resume();
    }
    ends.push(() => http.destroy());
  }
  return {
    [Symbol.dispose]() {
      for (const end of ends) end();
    },
  };
}

/** Begins a session and a build in it, serves nothing that is asked for, and leaves without a word. */
export async function vanish(socket: string, afterMs: number): Promise<void> {
  const stream = connect({ path: socket });
  const http = dialHttp2(stream);
  const { signal } = new AbortController();
  const id = randomBytes(8).toString("hex");
  const metadata = {
    "x-docker-expose-session-uuid": id,
    "x-docker-expose-session-grpc-method": "/moby.filesync.v1.FileSync/DiffCopy",
  };
  openCall(http, `${CONTROL}/Session`, { signal, metadata }).stream.resume();
  const solve = openCall(http, `${CONTROL}/Solve`, { signal });
  solve.stream.resume();
  const request = create(SolveRequestSchema, { Ref: `gone-${id}`, Session: id, Frontend: "dockerfile.v0" });
  await solve.send(toBinary(SolveRequestSchema, request));
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  const closed = new Promise((resolve) => void stream.once("close", resolve));
  stream.destroy();
  http.destroy();
  await closed;
}
