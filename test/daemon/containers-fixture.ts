// A client of the gateway's containers: its calls, its stream of processes, and graphs to run them on.

import {
  create,
  type DescMessage,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ClientHttp2Session } from "node:http2";
import { callUnary, openCall } from "../../bin/wire/client.ts";
import type { Stat } from "../../bin/wire/messages/fsutil/types/stat_pb.ts";
import {
  type ExecMessage,
  ExecMessageSchema,
  type InitMessageSchema,
  NewContainerRequestSchema,
  NewContainerResponseSchema,
  ReadDirRequestSchema,
  ReadDirResponseSchema,
  ReadFileRequestSchema,
  ReadFileResponseSchema,
  ReleaseContainerRequestSchema,
  ReleaseContainerResponseSchema,
  ReturnRequestSchema,
  ReturnResponseSchema,
  SolveRequestSchema,
  SolveResponseSchema,
  StatFileRequestSchema,
  StatFileResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import {
  GetSecretRequestSchema,
  GetSecretResponseSchema,
} from "../../bin/wire/messages/moby/buildkit/secrets/v1/secrets_pb.ts";
import { DefinitionSchema, type MountSchema } from "../../bin/wire/messages/pb/ops_pb.ts";
import { serveRpc, unary } from "../../bin/wire/server.ts";
import { CODE, RpcError } from "../../bin/wire/status.ts";
import { openTunnel } from "../../bin/wire/tunnel.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import type { ExecMount, ExecOp, FileAction } from "../../solver/graph/op.ts";
import { needs } from "../support/needs.ts";

const BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge";
export const CONTROL = "/moby.buildkit.v1.Control";
export type Plain<D extends DescMessage> = Exclude<MessageInitShape<D>, Message>;
export type MountInit = Plain<typeof MountSchema>;
export type Init = Plain<typeof InitMessageSchema>;

/** The calls of one build. */
export interface Bridge {
  /** The id of its result. */
  solve(definition: Definition): Promise<string>;
  /** What is told of the failing step of a graph. */
  fails(definition: Definition, words: RegExp): Promise<Left>;
  open(message: Plain<typeof NewContainerRequestSchema>): Promise<unknown>;
  release(container: string): Promise<unknown>;
  read(container: string, path: string, mount?: number): Promise<string>;
  list(container: string, path: string, mount?: number): Promise<string[]>;
  stat(container: string, path: string, mount?: number): Promise<Stat>;
  processes(): Processes;
  /** Returns nothing. */
  give(): Promise<unknown>;
}

/** One ExecProcess call. */
export interface Processes {
  /** Its end. */
  readonly over: Promise<void>;
  send(process: string, input: Input): Promise<void>;
  raw(bytes: Uint8Array): void;
  start(init: Init, id?: string): Process;
  /** Takes nothing more until the returned function is called. */
  pause(): () => void;
  end(): void;
  cancel(): void;
}

export interface Process {
  readonly messages: readonly ExecMessage[];
  /** Its end, once it is done. */
  readonly exit: Promise<{ readonly code: number; readonly error: string }>;
  /** All it has said by its end. */
  output(fd?: number): Promise<string>;
  says(text: string): Promise<void>;
  /** null: the end. */
  input(data: string | null): Promise<void>;
  resize(rows: number, columns: number): void;
  signal(name: string): void;
}

/** A container, and a stream of processes for it. */
export interface Container extends Omit<Processes, "start"> {
  readonly id: string;
  readonly start: (init: Init) => Process;
}

/** errdefs.Solve, as its JSON has it. */
export interface Left {
  readonly inputIDs: readonly string[];
  readonly mountIDs: readonly string[];
  readonly op: { readonly exec: { readonly meta: { readonly args: readonly string[] } } };
  readonly file: { readonly index?: string };
  readonly cache: { readonly index?: string };
}

export function bridgeOf(http: ClientHttp2Session, name: string): Bridge {
  const { signal } = new AbortController();
  const options = { signal, metadata: { "buildkit-controlapi-buildid": name } };
  async function solve(definition: Definition, Evaluate = false): Promise<string> {
    const { result } = await callUnary(
      http,
      { path: `${BRIDGE}/Solve`, input: SolveRequestSchema, output: SolveResponseSchema },
      create(SolveRequestSchema, {
        Definition: fromBinary(DefinitionSchema, encodeDefinition(definition)),
        allowResultReturn: true,
        Evaluate,
      }),
      options,
    );
    assert.equal(result?.result.case, "ref");
    return (result.result.value as { readonly id: string }).id;
  }
  return {
    solve: (definition) => solve(definition),
    async fails(definition: Definition, words: RegExp): Promise<Left> {
      try {
        await solve(definition, true);
      } catch (error) {
        assert.ok(error instanceof RpcError);
        assert.match(error.message, words);
        const detail = error.details.find(({ typeUrl }) => typeUrl.endsWith("errdefs.Solve+json"));
        assert.ok(detail, "no details");
        return { inputIDs: [], mountIDs: [], ...JSON.parse(Buffer.from(detail.value).toString()) } as Left;
      }
      return assert.fail("the step did not fail");
    },
    open: (message: Plain<typeof NewContainerRequestSchema>) =>
      callUnary(
        http,
        {
          path: `${BRIDGE}/NewContainer`,
          input: NewContainerRequestSchema,
          output: NewContainerResponseSchema,
        },
        create(NewContainerRequestSchema, message),
        options,
      ),
    release: (ContainerID: string) =>
      callUnary(
        http,
        {
          path: `${BRIDGE}/ReleaseContainer`,
          input: ReleaseContainerRequestSchema,
          output: ReleaseContainerResponseSchema,
        },
        create(ReleaseContainerRequestSchema, { ContainerID }),
        options,
      ),
    read: async (Ref: string, FilePath: string, MountIndex = 0) => {
      const { Data } = await callUnary(
        http,
        { path: `${BRIDGE}/ReadFileContainer`, input: ReadFileRequestSchema, output: ReadFileResponseSchema },
        create(ReadFileRequestSchema, { Ref, FilePath, MountIndex }),
        options,
      );
      return Buffer.from(Data).toString();
    },
    list: async (Ref: string, DirPath: string, MountIndex = 0) => {
      const { entries } = await callUnary(
        http,
        { path: `${BRIDGE}/ReadDirContainer`, input: ReadDirRequestSchema, output: ReadDirResponseSchema },
        create(ReadDirRequestSchema, { Ref, DirPath, MountIndex }),
        options,
      );
      return entries.map(({ path }) => path);
    },
    stat: async (Ref: string, Path: string, MountIndex = 0) => {
      const { stat } = await callUnary(
        http,
        { path: `${BRIDGE}/StatFileContainer`, input: StatFileRequestSchema, output: StatFileResponseSchema },
        create(StatFileRequestSchema, { Ref, Path, MountIndex }),
        options,
      );
      assert.ok(stat);
      return stat;
    },
    processes: () => openProcesses(http, name),
    give: () =>
      callUnary(
        http,
        { path: `${BRIDGE}/Return`, input: ReturnRequestSchema, output: ReturnResponseSchema },
        create(ReturnRequestSchema, { result: {} }),
        options,
      ),
  };
}

/** A process with what the stream tells it. */
interface Told extends Process {
  take(message: ExecMessage): void;
  cut(): void;
}
type Input = NonNullable<MessageInitShape<typeof ExecMessageSchema>["Input"]>;

function openProcesses(http: ClientHttp2Session, name: string): Processes {
  const controller = new AbortController();
  const call = openCall(http, `${BRIDGE}/ExecProcess`, {
    signal: controller.signal,
    metadata: { "buildkit-controlapi-buildid": name },
  });
  const processes = new Map<string, Told>();
  let held: Promise<void> = Promise.resolve();
  const send = (ProcessID: string, Input: Input): Promise<void> =>
    call.send(toBinary(ExecMessageSchema, create(ExecMessageSchema, { ProcessID, Input })));
  const read = async (): Promise<void> => {
    try {
      for await (const bytes of call.messages()) {
        const message = fromBinary(ExecMessageSchema, bytes);
        processes.get(message.ProcessID)?.take(message);
        await held;
      }
    } finally {
      for (const one of processes.values()) one.cut();
    }
  };
  const over = read();
  over.catch(() => {}); // told to who asks
  return {
    over,
    send,
    raw: (bytes: Uint8Array): void => void call.send(bytes),
    start(init: Init, id = randomBytes(8).toString("hex")): Process {
      const process = processOf((input) => send(id, input));
      processes.set(id, process);
      void send(id, { case: "Init", value: init });
      return process;
    },
    pause(): () => void {
      let resume = (): void => {};
      held = new Promise((resolve) => {
        resume = resolve;
      });
      return resume;
    },
    end: () => call.end(),
    cancel: () => controller.abort(),
  };
}

function processOf(send: (input: Input) => Promise<void>): Told {
  const messages: ExecMessage[] = [];
  const chunks: Record<number, Buffer[]> = { 1: [], 2: [] };
  let heard = (): void => {};
  let exited: (exit: { code: number; error: string }) => void = () => {};
  let failed: (error: Error) => void = () => {};
  let done = (): void => {};
  const exit = new Promise<{ code: number; error: string }>((resolve, reject) => {
    exited = resolve;
    failed = reject;
  });
  const over = new Promise<void>((resolve) => {
    done = resolve;
  });
  exit.catch(() => {}); // a stream that breaks off on purpose
  let end = { code: -1, error: "" };
  const textOf = (fd: number): string => Buffer.concat(chunks[fd] ?? []).toString();
  return {
    messages,
    exit,
    take(message: ExecMessage): void {
      messages.push(message);
      const { case: kind, value } = message.Input;
      if (kind === "File") chunks[value.Fd]?.push(Buffer.from(value.Data));
      if (kind === "Exit") end = { code: value.Code, error: value.Error?.message ?? "" };
      if (kind === "Done") {
        done();
        exited(end);
      }
      heard();
    },
    cut(): void {
      done();
      failed(new Error("the stream ended before the process"));
      heard();
    },
    async output(fd = 1): Promise<string> {
      await over;
      return textOf(fd);
    },
    async says(text: string): Promise<void> {
      while (!textOf(1).includes(text)) {
        assert.ok(
          !messages.some(({ Input: { case: kind } }) => kind === "Done"),
          `it ended with ${JSON.stringify(end)} and said ${JSON.stringify(textOf(1))}${JSON.stringify(textOf(2))}`,
        );
        await new Promise<void>((resolve) => {
          heard = resolve;
        });
      }
    },
    input: (data: string | null): Promise<void> =>
      send({
        case: "File",
        value: data === null ? { Fd: 0, EOF: true } : { Fd: 0, Data: Buffer.from(data) },
      }),
    resize: (Rows: number, Cols: number): void => void send({ case: "Resize", value: { Rows, Cols } }),
    signal: (Name: string): void => void send({ case: "Signal", value: { Name } }),
  };
}

/** A session with secrets. */
export function openSession(
  http: ClientHttp2Session,
  id: string,
  secrets: Readonly<Record<string, string>>,
): { end(): void } {
  const controller = new AbortController();
  const call = openCall(http, `${CONTROL}/Session`, {
    signal: controller.signal,
    metadata: {
      "x-docker-expose-session-uuid": id,
      "x-docker-expose-session-name": "",
      "x-docker-expose-session-grpc-method": ["/moby.buildkit.secrets.v1.Secrets/GetSecret"],
    },
  });
  const tunnel = openTunnel(call, { onEnd: () => {} });
  serveRpc(
    tunnel,
    new Map([
      [
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        unary(GetSecretRequestSchema, GetSecretResponseSchema, async ({ ID }) => {
          const data = secrets[ID];
          if (data === undefined) throw new RpcError(CODE.NOT_FOUND, `secret ${ID}: not found`);
          return create(GetSecretResponseSchema, { data: Buffer.from(data) });
        }),
      ],
    ]),
    { onFault: (error) => assert.fail(String(error)) },
  );
  return { end: () => controller.abort() };
}

export function sh(script: string, { Meta = {}, ...more }: Init = {}): Init {
  return { ...more, Meta: { ...Meta, args: ["/bin/sh", "-c", script] } };
}

type Draft = (base: number | null) => FileAction;

/** A graph of one step that makes files. */
export function made(drafts: readonly Draft[]): Definition {
  const graph = openGraph();
  const actions = drafts.map((draft, index) => ({
    ...draft(index === 0 ? null : index - 1),
    output: index === drafts.length - 1 ? 0 : null,
  }));
  const note = { name: "make files", ignoreCache: false, at: [], group: null };
  return graph.definition(graph.add({ kind: "file", actions }, null, [], note));
}

const COMMON = { output: null, owner: null, timestampNs: null } as const;
export const mkfile =
  (path: string, data: string | Uint8Array, mode = 0o644): Draft =>
  (base) => ({ kind: "mkfile", path, mode, data: Buffer.from(data as Uint8Array), base, ...COMMON });
export const mkdir =
  (path: string): Draft =>
  (base) => ({ kind: "mkdir", path, mode: 0o755, makeParents: true, base, ...COMMON });
const symlink =
  (path: string, target: string): Draft =>
  (base) => ({ kind: "symlink", path, target, base, ...COMMON });

/** A root with busybox under the names that scripts here use. */
export function busybox(): Definition {
  const names = "cat cmp cut grep head hostname id ln ls mkdir nc readlink sh sleep stty true wc";
  return made([
    mkdir("/bin"),
    mkfile("/bin/busybox", readFileSync(needs("busybox")), 0o755),
    ...names.split(" ").map((name) => symlink(`/bin/${name}`, "busybox")),
    mkdir("/etc"),
    mkfile("/etc/motd", "hello\n"),
    mkfile("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
  ]);
}

export function execOp(script: string, mounts: readonly ExecMount[]): ExecOp {
  return {
    kind: "exec",
    args: ["/bin/sh", "-c", script],
    env: [],
    cwd: "/",
    user: "",
    proxyEnv: null,
    extraHosts: [],
    hostname: "",
    ulimits: [],
    cgroupParent: "",
    validExitCodes: [],
    mounts,
    network: "none",
    security: "sandbox",
    secretEnv: [],
    devices: [],
  };
}
