// A frontend for an image: gRPC on standard input and output. Bundled by frontend-image.test.ts. Its result is a file that says what it was told.

import { create } from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";
import { readFileSync } from "node:fs";
import { Duplex } from "node:stream";
import { callUnary } from "../../bin/wire/client.ts";
import { dialHttp2 } from "../../bin/wire/connection.ts";
import {
  PingRequestSchema,
  PongResponseSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
  SolveRequestSchema,
  SolveResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { DefinitionSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";

const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";
const { signal } = new AbortController();
const options = Object.fromEntries(
  Object.entries(process.env)
    .filter(([name]) => name.startsWith("BUILDKIT_FRONTEND_OPT_"))
    .map(([, value = ""]) => value.split(/=(.*)/s).slice(0, 2)),
) as Record<string, string>;

process.stderr.write(`asked for ${options["cmdline"] ?? "nothing"}\n`);
if (options["build-arg:HOW"] === "silent") process.exit(3);
if (options["build-arg:HOW"] === "hang") await new Promise((resolve) => setTimeout(resolve, 600_000));
if (options["build-arg:HOW"] === "garbage") {
  process.stdout.write("what a shell says\n".repeat(10_000));
  await new Promise((resolve) => setTimeout(resolve, 600_000));
}
const http = dialHttp2(Duplex.from({ readable: process.stdin, writable: process.stdout }));
if (options["build-arg:HOW"] === "many") {
  const ask = () =>
    callUnary(
      http,
      { path: `${BRIDGE}/Solve`, input: SolveRequestSchema, output: SolveResponseSchema },
      create(SolveRequestSchema, {
        Frontend: "gateway.v0",
        FrontendOpt: { ...options, source: options["build-arg:SELF"] ?? "", "build-arg:HOW": "hang" },
        allowResultReturn: true,
      }),
      { signal },
    );
  const message = await Promise.race(
    Array.from({ length: 40 }, () =>
      ask().then(
        () => "one returned",
        (error: Error) => error.message,
      ),
    ),
  );
  process.stderr.write(`refused: ${message}\n`);
  process.exit(3);
}
const pong = await callUnary(
  http,
  { path: `${BRIDGE}/Ping`, input: PingRequestSchema, output: PongResponseSchema },
  create(PingRequestSchema),
  { signal },
);
const interfaces = readFileSync("/proc/net/dev", "latin1").match(/^ *[^:\s]+(?=:)/gm) ?? [];
const about = {
  cmdline: options["cmdline"],
  interfaces: interfaces.map((name) => name.trim()),
  hasWorkers: pong.Workers.length > 0 && process.env["BUILDKIT_WORKERS"]?.startsWith("[{") === true,
  definitionBytes: readFileSync("/run/config/buildkit/metadata/frontend.bin").length > 0,
};
const graph = openGraph();
const file = {
  kind: "mkfile",
  path: "/told",
  mode: 0o644,
  // More than all that is on its way without an answer.
  data: options["build-arg:HOW"] === "large" ? Buffer.alloc(15_000_000) : Buffer.from(JSON.stringify(about)),
  ...{ owner: null, timestampNs: null, base: null, output: 0 },
} as const;
const note = { name: "what the frontend was told", ignoreCache: false, at: [], group: null };
const root = graph.add({ kind: "file", actions: [file] }, null, [], note);
const { result } = await callUnary(
  http,
  { path: `${BRIDGE}/Solve`, input: SolveRequestSchema, output: SolveResponseSchema },
  create(SolveRequestSchema, {
    Definition: fromBinary(DefinitionSchema, encodeDefinition(graph.definition(root))),
    allowResultReturn: true,
  }),
  { signal },
);
await callUnary(
  http,
  { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
  create(
    ReturnRequestSchema,
    options["build-arg:HOW"] === "fail"
      ? { error: { code: 2, message: "the frontend does not like it" } }
      : { ...(result === undefined ? {} : { result }) },
  ),
  { signal },
);
http.close();
