// buildctl debug workers, debug info: one call to the daemon, and its answer as buildctl prints it.

import { create, toJson } from "@bufbuild/protobuf";
import type { Duplex } from "node:stream";
import { callUnary } from "../wire/client.ts";
import { dialHttp2 } from "../wire/connection.ts";
import {
  InfoRequestSchema,
  InfoResponseSchema,
  ListWorkersRequestSchema,
  ListWorkersResponseSchema,
} from "../wire/messages/moby/buildkit/v1/control_pb.ts";

const SERVICE = "/moby.buildkit.v1.Control";

interface DebugOptions {
  readonly print: (text: string) => void;
  readonly asJson: boolean;
  readonly timeoutMs: number;
}

/** Throws RpcError. */
export async function debugWorkers(
  socket: Duplex,
  { print, asJson, timeoutMs }: DebugOptions,
): Promise<void> {
  const session = dialHttp2(socket);
  const method = { input: ListWorkersRequestSchema, output: ListWorkersResponseSchema };
  const { record } = await callUnary(
    session,
    { path: `${SERVICE}/ListWorkers`, ...method },
    create(ListWorkersRequestSchema),
    { signal: AbortSignal.timeout(timeoutMs) },
  );
  session.close();
  if (asJson) {
    print(`${JSON.stringify(record.map(({ ID, Labels }) => ({ id: ID, labels: Labels })))}\n`);
    return;
  }
  print("ID\tPLATFORMS\n");
  for (const { ID, platforms } of record) {
    const names = platforms.map(({ OS, Architecture, Variant }) =>
      [OS, Architecture, Variant].filter((part) => part !== "").join("/"),
    );
    print(`${ID}\t${names.join(",")}\n`);
  }
}

/** Throws RpcError. */
export async function debugInfo(socket: Duplex, { print, asJson, timeoutMs }: DebugOptions): Promise<void> {
  const session = dialHttp2(socket);
  const answer = await callUnary(
    session,
    { path: `${SERVICE}/Info`, input: InfoRequestSchema, output: InfoResponseSchema },
    create(InfoRequestSchema),
    { signal: AbortSignal.timeout(timeoutMs) },
  );
  session.close();
  const { package: name = "", version = "", revision = "" } = answer.buildkitVersion ?? {};
  print(
    asJson
      ? `${JSON.stringify(toJson(InfoResponseSchema, answer))}\n`
      : `BuildKit:\t${[name, version, revision].join(" ").trim()}\n`,
  );
}
