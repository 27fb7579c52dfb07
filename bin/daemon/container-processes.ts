// ExecProcess: all processes of a client's containers on one stream. Each has messages in this order: Started, File with its output, Exit, File
// with the end of each stream, Done. The client sends Init, then File with input, Resize and Signal.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { constants } from "node:os";
import type { Container, ContainerProcess, ExecControl, ExecOutcome, ProcessIo } from "../engine/request.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import type { StatusSchema } from "../wire/messages/google/rpc/status_pb.ts";
import {
  DoneMessageSchema,
  type ExecMessage,
  ExecMessageSchema,
  ExitMessageSchema,
  FdMessageSchema,
  type InitMessage,
  StartedMessageSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { SecurityMode } from "../wire/messages/pb/ops_pb.ts";
import type { Call } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { statusOf } from "./errors.ts";

/** A container of a build. */
export interface Opened {
  readonly container: Container;
  /** Those that run; each resolves with its end. */
  readonly processes: Set<Promise<void>>;
  /** The first failure of a process. */
  failure: RpcError | null;
}

/** Running processes of one container; more are refused. */
const PROCESSES_MAX = 64;
/** Input on its way to the processes of one stream; above this the stream waits for them. */
const INPUT_PENDING_MAX_BYTES = 1 << 20;
/** Ended processes whose late messages are known as such. */
const ENDED_MAX = 1_000;
const ID_MAX_CHARS = 512;
const CELLS_MAX = 0xffff;
/** Exit code of a process whose exit status is not known. */
const UNKNOWN_EXIT = 255;
/** Of one that was killed. */
const KILLED_EXIT = 128 + constants.signals.SIGKILL;
const [STDIN, STDOUT, STDERR] = [0, 1, 2];

/** A process of the stream. */
interface Running {
  /** Resolves when there is a process; with null when there will be none. */
  readonly control: Promise<ExecControl | null>;
  readonly takesInput: boolean;
  readonly abort: AbortController;
  readonly over: Promise<void>;
}

type Send = (input: ExecMessage["Input"]) => Promise<void>;

/** Serves the stream until the client ends it and all its processes have ended. Those end with a stream that breaks off, and with the build
 *  (`signal`). Throws RpcError. */
export async function execProcess(
  call: Call,
  buildSignal: AbortSignal,
  find: (container: string) => Promise<Opened>,
): Promise<void> {
  const signal = AbortSignal.any([call.signal, buildSignal]);
  const running = new Map<string, Running>();
  const ended = new Set<string>();
  let pendingBytes = 0;
  let onRoom = (): void => {};
  call.begin();

  const feed = (control: ExecControl, data: Uint8Array): void => {
    pendingBytes += data.length;
    control.stdin(data, () => {
      pendingBytes -= data.length;
      if (pendingBytes <= INPUT_PENDING_MAX_BYTES) onRoom();
    });
  };
  const room = async (): Promise<void> => {
    if (pendingBytes <= INPUT_PENDING_MAX_BYTES) return;
    const some = new Promise<void>((resolve) => {
      onRoom = resolve;
    });
    await unlessAborted(some, signal);
  };

  const begin = (id: string, init: InitMessage): void => {
    const abort = new AbortController();
    let controlled: (control: ExecControl | null) => void = () => {};
    const control = new Promise<ExecControl | null>((resolve) => {
      controlled = resolve;
    });
    const over = runProcess(init, {
      send: (Input) =>
        call.send(toBinary(ExecMessageSchema, create(ExecMessageSchema, { ProcessID: id, Input }))),
      find,
      signal: AbortSignal.any([signal, abort.signal]),
      onControl: controlled,
    }).finally(() => {
      controlled(null);
      running.delete(id);
      ended.add(id);
      const [oldest] = ended;
      if (ended.size > ENDED_MAX && oldest !== undefined) ended.delete(oldest);
    });
    over.catch(() => {}); // a stream that takes no more: told by its end
    running.set(id, { control, takesInput: init.Fds.includes(STDIN), abort, over });
  };

  const take = async ({ ProcessID: id, Input }: ExecMessage): Promise<void> => {
    if (id === "" || id.length > ID_MAX_CHARS)
      throw new RpcError(CODE.INVALID_ARGUMENT, `ProcessID required, of at most ${ID_MAX_CHARS} characters`);
    const process = running.get(id);
    if (Input.case === "Init") {
      if (process !== undefined || ended.has(id))
        throw new RpcError(CODE.ALREADY_EXISTS, `Process ${printable(id)} already exists`);
      begin(id, Input.value);
      return;
    }
    if (process === undefined) {
      if (ended.has(id)) return; // it was sent before its end was known
      throw new RpcError(CODE.NOT_FOUND, `IO for process "${printable(id)}" not found`);
    }
    switch (Input.case) {
      case "File": {
        const { Fd, Data, EOF } = Input.value;
        if (Fd !== STDIN || !process.takesInput)
          throw new RpcError(CODE.INVALID_ARGUMENT, `fd ${Fd} unavailable to write`);
        const control = await unlessAborted(process.control, signal);
        if (control === null) return;
        if (Data.length > 0) feed(control, Data);
        if (EOF) control.stdin(null);
        await room();
        return;
      }
      case "Resize": {
        const { Rows, Cols } = Input.value;
        const control = await unlessAborted(process.control, signal);
        control?.resize(Math.min(Rows, CELLS_MAX), Math.min(Cols, CELLS_MAX));
        return;
      }
      case "Signal": {
        const number = signalNumber(Input.value.Name);
        const control = await unlessAborted(process.control, signal);
        control?.kill(number);
        return;
      }
      default:
        throw new RpcError(CODE.INVALID_ARGUMENT, "a message of a process that only the daemon sends");
    }
  };

  try {
    const messages = call.messages();
    for (;;) {
      const next = messages.next();
      next.catch(() => {}); // when the build ends first
      const { value, done } = await unlessAborted(next, signal);
      if (done === true || value === undefined) break;
      await take(readMessage(value));
    }
    // No more input for anybody.
    for (const { control, takesInput } of running.values())
      if (takesInput) void control.then((found) => found?.stdin(null));
    await unlessAborted(Promise.all([...running.values()].map(({ over }) => over)), signal);
  } catch (error) {
    if (error instanceof RpcError) throw error;
    throw new RpcError(CODE.CANCELLED, "context canceled", [], error);
  } finally {
    const left = [...running.values()];
    for (const { abort } of left) abort.abort();
    await Promise.allSettled(left.map(({ over }) => over));
  }
}

interface ProcessContext {
  readonly send: Send;
  readonly find: (container: string) => Promise<Opened>;
  readonly signal: AbortSignal;
  readonly onControl: (control: ExecControl) => void;
}

/** Runs one process and tells of it. Rejects when the stream takes no more. */
async function runProcess(init: InitMessage, context: ProcessContext): Promise<void> {
  const { send } = context;
  const fds = [STDOUT, STDERR].filter((fd) => init.Fds.includes(fd));
  let said: Promise<void> = Promise.resolve();
  /** In order, one after the other. */
  const say: Send = (input) => {
    said = said.then(() => send(input));
    return said;
  };
  // At once, as BuildKit does. BuildKit's client takes no message of any process while the output of one waits for the input of another that it has
  // not heard of yet.
  say({ case: "Started", value: create(StartedMessageSchema) }).catch(() => {}); // what follows fails as well
  const { code, error } = await exitOf(init, context, {
    async onOutput(fd, Data) {
      if (!fds.includes(fd)) return;
      await say({ case: "File", value: create(FdMessageSchema, { Fd: fd, Data }) });
    },
  });
  const Error = error === null ? {} : { Error: errorMessage(error) };
  await say({ case: "Exit", value: create(ExitMessageSchema, { Code: code, ...Error }) });
  for (const Fd of fds) await say({ case: "File", value: create(FdMessageSchema, { Fd, EOF: true }) });
  await say({ case: "Done", value: create(DoneMessageSchema) });
}

interface Exit {
  readonly code: number;
  readonly error: RpcError | null;
}

/** How the process ended. Never rejects. */
async function exitOf(
  init: InitMessage,
  { find, signal, onControl }: ProcessContext,
  io: Pick<ProcessIo, "onOutput">,
): Promise<Exit> {
  let opened: Opened;
  try {
    opened = await find(init.ContainerID);
    if (opened.processes.size >= PROCESSES_MAX)
      throw new RpcError(
        CODE.RESOURCE_EXHAUSTED,
        `a container has no more than ${PROCESSES_MAX} processes at once`,
      );
  } catch (error) {
    return { code: UNKNOWN_EXIT, error: statusOf(error) };
  }
  const run = async (): Promise<Exit> => {
    try {
      return exited(await opened.container.exec(processOf(init), { ...io, signal, onControl }));
    } catch (error) {
      const isKilled = signal.aborted || (error instanceof Error && error.name === "AbortError");
      if (isKilled)
        return {
          code: KILLED_EXIT,
          error: new RpcError(CODE.CANCELLED, `exit code: ${KILLED_EXIT}: context canceled`),
        };
      const code = error instanceof BuildError ? error.exitCode : null;
      return { code: code ?? UNKNOWN_EXIT, error: statusOf(error) };
    }
  };
  const exit = run().then((one) => {
    opened.failure ??= one.error;
    return one;
  });
  const over = exit.then(() => {});
  opened.processes.add(over);
  try {
    return await exit;
  } finally {
    opened.processes.delete(over);
  }
}

function exited({ code, signal }: ExecOutcome): Exit {
  const found = code ?? 128 + (signal ?? 0);
  return { code: found, error: found === 0 ? null : new RpcError(CODE.UNKNOWN, `exit code: ${found}`) };
}

/** Throws RpcError. */
function processOf({ Meta, Fds, Tty, Security, secretenv }: InitMessage): ContainerProcess {
  const { args = [], env = [], cwd = "", user = "" } = Meta ?? {};
  if (args.length === 0) throw new RpcError(CODE.INVALID_ARGUMENT, "a process needs arguments");
  if (cwd !== "" && !cwd.startsWith("/"))
    throw new RpcError(
      CODE.INVALID_ARGUMENT,
      `the working directory ${printable(cwd)} is not an absolute path`,
    );
  const security = SECURITY.get(Security);
  if (security === undefined) throw new RpcError(CODE.INVALID_ARGUMENT, `invalid security mode ${Security}`);
  for (const { ID, name } of secretenv)
    if (ID === "")
      throw new RpcError(
        CODE.INVALID_ARGUMENT,
        `secret ID missing for "${printable(name)}" environment variable`,
      );
  return {
    ...{ args, env, cwd: cwd === "" ? "/" : cwd, user, security },
    secretEnv: secretenv.map(({ ID: id, name, optional }) => ({ id, name, optional })),
    tty: Tty ? { rows: 0, columns: 0 } : null,
    stdin: Fds.includes(STDIN),
  };
}

const SECURITY: ReadonlyMap<number, ContainerProcess["security"]> = new Map([
  [SecurityMode.SANDBOX, "sandbox"],
  [SecurityMode.INSECURE, "insecure"],
]);

function errorMessage({ code, message, details }: RpcError): MessageInitShape<typeof StatusSchema> {
  return { code, message, details: details.map(({ typeUrl, value }) => ({ typeUrl, value })) };
}

/** Throws INVALID_ARGUMENT. */
function readMessage(bytes: Uint8Array): ExecMessage {
  try {
    return fromBinary(ExecMessageSchema, bytes);
  } catch (cause) {
    throw new RpcError(CODE.INVALID_ARGUMENT, "not an ExecMessage", [], cause);
  }
}

/** The first and the last signal for programs' own use: signal(7), as C libraries leave them. */
const [RTMIN, RTMAX] = [34, 64];

/** The number of HUP, INT, RTMIN+3… Throws INVALID_ARGUMENT. */
function signalNumber(name: string): number {
  const plain = name.replace(/^SIG/, "");
  const known = (constants.signals as Readonly<Record<string, number>>)[`SIG${plain}`];
  if (known !== undefined) return known;
  const [, end, sign, steps = "0"] = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(plain) ?? [];
  const number = end === "MIN" ? RTMIN + Number(steps) : RTMAX - Number(steps);
  const isRight = end !== undefined && sign !== (end === "MIN" ? "-" : "+");
  if (isRight && number >= RTMIN && number <= RTMAX) return number;
  throw new RpcError(CODE.INVALID_ARGUMENT, `Unknown signal ${printable(name)}`);
}
