// BuildKit's progress as events, and addresses of builders.

import { create } from "@bufbuild/protobuf";
import { deepEqual, equal, throws } from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { NO_TLS, parseAddress, shownAddress } from "../../../bin/remote/address.ts";
import { buildFailure } from "../../../bin/remote/failure.ts";
import { openRemoteProgress } from "../../../bin/remote/progress.ts";
import { StatusResponseSchema } from "../../../bin/wire/messages/moby/buildkit/v1/control_pb.ts";
import { RpcError } from "../../../bin/wire/status.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import type { ProgressEvent } from "../../../solver/graph/event.ts";

const A = digestOf("a");
const B = digestOf("b");
const at = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 });

describe("progress of a builder", () => {
  const open = () => {
    const events: ProgressEvent[] = [];
    const progress = openRemoteProgress(
      (event) => events.push(event),
      () => {},
    );
    const take = (part: Parameters<typeof create<typeof StatusResponseSchema>>[1]): void =>
      progress.take(create(StatusResponseSchema, part));
    const kinds = (): string[] =>
      events.map((event) => `${event.kind}${"vertex" in event && event.vertex === A ? " a" : ""}`);
    return { events, progress, take, kinds };
  };

  it("is one step for a vertex that is looked up in the cache and then runs", () => {
    const now = Date.now();
    const { progress, take, kinds } = open();
    take({ vertexes: [{ digest: A, name: "a", started: at(now), completed: at(now + 5) }] });
    take({ vertexes: [{ digest: A, name: "a", started: at(now + 50) }] });
    take({ vertexes: [{ digest: A, name: "a", started: at(now + 50), completed: at(now + 90) }] });
    progress.end({ isCancelled: false });
    deepEqual(kinds(), ["vertex a", "started a", "done a"]);
  });

  it("ends a step when something that needs it begins, or after a pause; what runs again later is another step", async () => {
    const now = Date.now();
    const { events, progress, take, kinds } = open();
    take({ vertexes: [{ digest: A, name: "a", started: at(now), completed: at(now + 5) }] });
    take({ vertexes: [{ digest: B, name: "b", inputs: [A], started: at(now + 6) }] });
    deepEqual(kinds(), ["vertex a", "started a", "vertex", "done a", "started"]);
    take({ vertexes: [{ digest: B, name: "b", inputs: [A], started: at(now + 6), completed: at(now + 7) }] });
    await delay(700);
    equal(kinds().at(-1), "done");
    take({ vertexes: [{ digest: A, name: "a", started: at(now + 900) }] });
    const again = events.findLast((event) => event.kind === "started");
    equal(again?.kind === "started" && again.vertex !== A && again.vertex === progress.stepOf(A), true);
  });

  it("tells cached steps after what ended before them, as soon as something that needs them begins", () => {
    const now = Date.now();
    const { progress, take, kinds } = open();
    take({ vertexes: [{ digest: A, name: "[internal] load", started: at(now), completed: at(now + 5) }] });
    const cached = {
      digest: B,
      name: "b",
      started: at(now + 6),
      completed: at(now + 6),
      cached: true,
    };
    take({ vertexes: [cached] });
    deepEqual(kinds(), ["vertex a", "started a", "vertex"]);
    take({ vertexes: [{ digest: digestOf("c"), name: "c", inputs: [B], started: at(now + 7) }] });
    deepEqual(kinds().slice(4), ["done a", "cached", "started"]);
    progress.end({ isCancelled: true });
    equal(kinds().at(-1), "cancelled");
  });

  it("has what a step wrote before the word that it failed, by this machine's clock", () => {
    const { events, progress, take } = open();
    take({
      vertexes: [{ digest: A, name: "a", started: at(1_000), completed: at(1_400), error: "exit code: 7" }],
      logs: [{ vertex: A, timestamp: at(1_200), stream: 2n, msg: Buffer.from("oops\n") }],
    });
    deepEqual(
      events.map(({ kind }) => kind),
      ["vertex", "started", "log", "failed"],
    );
    deepEqual(progress.failure(), { message: "exit code: 7", step: A });
    const times = events.flatMap((event) => ("atMs" in event ? [event.atMs] : []));
    equal(times[2] !== undefined && times[0] !== undefined && times[2] - times[0], 400);
    equal(Math.abs((times[0] ?? 0) - Date.now()) < 5_000, true);
  });

  it("tells the steps of a cancelled build that still run to be cancelled, where the builder's own word does not come", () => {
    const now = Date.now();
    const { progress, take, kinds } = open();
    take({ vertexes: [{ digest: A, name: "a", started: at(now), completed: at(now + 5) }] });
    take({ vertexes: [{ digest: B, name: "b", inputs: [A], started: at(now + 6) }] });
    progress.end({ isCancelled: true });
    deepEqual(kinds().slice(-3), ["done a", "started", "cancelled"]);
  });

  it("tells warnings without the line that their list adds", () => {
    const { events, take } = open();
    take({
      warnings: [
        {
          vertex: A,
          short: Buffer.from("FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 3)"),
          info: { filename: "Dockerfile", data: Buffer.from("x") },
          ranges: [{ start: { line: 3 }, end: { line: 3 } }],
        },
      ],
    });
    const [warning] = events;
    deepEqual(warning?.kind === "warning" && [warning.rule, warning.message, warning.at[0]?.start.line], [
      "FromAsCasing",
      "'as' and 'FROM' keywords' casing do not match",
      3,
    ]);
  });

  it("ends in an error with the place, the step and the exit code that its details have", () => {
    const detail = (name: string, value: object) => ({
      typeUrl: `github.com/moby/buildkit/${name}+json`,
      value: Buffer.from(JSON.stringify(value)),
    });
    const sources: string[] = [];
    const error = buildFailure(
      new RpcError(2, "process did not complete\nuse another", [
        detail("errdefs.Source", {
          info: { filename: "D", data: Buffer.from("a\nb\nc\n").toString("base64") },
          ranges: [{ start: { line: 2 }, end: { line: 3 } }],
        }),
        detail("errdefs.Vertex", { digest: A }),
        detail("gatewayapi.ExitMessage", { Code: 7 }),
        { typeUrl: "x+json", value: Buffer.from("{") },
      ]),
      {
        onSource: ({ file }) => sources.push(file),
        stepOf: (vertex) => (vertex === A ? B : null),
        isOurs: true,
      },
    );
    deepEqual(
      [error.message, error.hint, error.vertex, error.exitCode, sources],
      ["process did not complete", "use another", B, 7, ["D"]],
    );
    deepEqual(error.at, { file: "D", start: { line: 2, column: 1 }, end: { line: 3, column: 2 } });
  });
});

describe("addresses of builders", () => {
  const shown = (text: string): string => shownAddress(parseAddress(text, NO_TLS, "/home/me"));

  it("are sockets, hosts and programs", () => {
    equal(shown("unix://d.sock"), "unix:///home/me/d.sock");
    equal(shown("tcp://[::1]:1234"), "tcp://[::1]:1234");
    equal(shown("ssh://me@host:22"), "ssh -l me -p 22 -- host buildctl dial-stdio");
    equal(shown("ssh://host/run/b.sock"), "ssh -- host buildctl --addr unix:///run/b.sock dial-stdio");
    equal(shown("docker-container://w?context=c"), "docker --context=c exec -i w buildctl dial-stdio");
    equal(
      shown("kube-pod://p?namespace=n&container=c"),
      "kubectl --namespace=n exec --container=c -i p -- buildctl dial-stdio",
    );
  });

  it("are never flags or commands for the program that gets them", () => {
    for (const text of [
      "ssh://-oProxyCommand=x",
      "ssh://-x@host",
      "ssh://host/a;b",
      "ssh://me:word@host",
      "docker-container://--privileged",
      "docker-container://a?user=root",
      "kube-pod://-it",
      "kube-pod://p?namespace=--all",
      "tcp://host",
      "tcp://host:99999",
      "unix://",
      "http://host:1",
    ])
      throws(() => shown(text), { code: "USAGE" }, text);
    throws(() => parseAddress("unix:///s", { ...NO_TLS, ca: "/ca" }, "/"), { code: "USAGE" });
  });
});
