// Containers of the gateway: a client mounts results of its build, and runs processes on them (BuildKit's interactive debugger, frontends that
// run commands). What processes do: container-processes.ts.

import { create, toBinary } from "@bufbuild/protobuf";
import { isIP } from "node:net";
import type { Bridge, ContainerRequest, Ref } from "../engine/bridge-contract.ts";
import { printable } from "../../solver/graph/error.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { decodeOp } from "../../solver/graph/llb.ts";
import type { ExecOp } from "../../solver/graph/op.ts";
import {
  type NewContainerRequest,
  NewContainerRequestSchema,
  NewContainerResponseSchema,
  ReleaseContainerRequestSchema,
  ReleaseContainerResponseSchema,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import { MountType, OpSchema } from "../wire/messages/pb/ops_pb.ts";
import { type Call, type Handlers, unary } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { BuildOf, OnBridge } from "./bridge-calls.ts";
import type { Build } from "./builds.ts";
import { execProcess, type Opened } from "./container-processes.ts";
import { fileHandlers, SERVICE } from "./gateway-files.ts";

/** Open containers of one build; more are refused. */
const CONTAINERS_MAX = 64;
const ID_MAX_CHARS = 256;
/** PATH of processes that have none, by the system of the container: a process of Linux may well ask what Windows would have. */
const PATHS: Readonly<Record<string, string>> = {
  windows: "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0",
};

/** Of one build. */
type Containers = Map<string, Promise<Opened>>;

export function containerHandlers(buildOf: BuildOf, onBridge: OnBridge): Handlers {
  const all = new WeakMap<Build, Containers>();
  const containersOf = (build: Build): Containers => {
    const known = all.get(build) ?? new Map();
    all.set(build, known);
    return known;
  };
  const find = async (build: Build, id: string): Promise<Opened> => {
    const found = containersOf(build).get(id);
    if (found === undefined)
      throw new RpcError(CODE.NOT_FOUND, `container "${printable(id)}" previously released or not created`);
    return await found;
  };
  return new Map([
    [
      `${SERVICE}/NewContainer`,
      unary(NewContainerRequestSchema, NewContainerResponseSchema, (message, call) =>
        onBridge(call, async (bridge, build) => {
          const containers = containersOf(build);
          const id = message.ContainerID;
          if (id === "" || id.length > ID_MAX_CHARS)
            throw new RpcError(
              CODE.INVALID_ARGUMENT,
              `a container needs an id of 1 to ${ID_MAX_CHARS} characters`,
            );
          if (containers.has(id))
            throw new RpcError(CODE.ALREADY_EXISTS, `Container ${printable(id)} already exists`);
          if (containers.size >= CONTAINERS_MAX)
            throw new RpcError(
              CODE.RESOURCE_EXHAUSTED,
              `a build has no more than ${CONTAINERS_MAX} containers at once`,
            );
          const opened = open(
            bridge,
            requestOf(message, (result) => build.results.get(result)),
          );
          containers.set(id, opened);
          opened.catch(() => containers.delete(id)); // told to who asked
          await opened;
          return create(NewContainerResponseSchema);
        }),
      ),
    ],
    [
      `${SERVICE}/ReleaseContainer`,
      unary(ReleaseContainerRequestSchema, ReleaseContainerResponseSchema, ({ ContainerID: id }, call) =>
        onBridge(call, async (_, build) => {
          const opened = await find(build, id);
          containersOf(build).delete(id);
          await opened.container[Symbol.asyncDispose]();
          await Promise.all(opened.processes);
          // As in BuildKit: who releases a container is told that a process of it failed, or was ended by that.
          if (opened.failure !== null) throw opened.failure;
          return create(ReleaseContainerResponseSchema);
        }),
      ),
    ],
    [
      `${SERVICE}/ExecProcess`,
      async (call: Call) => {
        const build = await buildOf(call);
        await execProcess(call, build.signal, (id) => find(build, id));
      },
    ],
    ...fileHandlers("Container", (call, { id, mount, path }, question) =>
      onBridge(call, async (_, build) => {
        const { container } = await find(build, id);
        return await container.look(mount, path, question, { signal: call.signal });
      }),
    ),
  ]);
}

async function open(bridge: Bridge, request: ContainerRequest): Promise<Opened> {
  return { container: await bridge.openContainer(request), processes: new Set(), failure: null };
}

/** Throws RpcError, BuildError. */
function requestOf(message: NewContainerRequest, resultOf: (id: string) => Ref): ContainerRequest {
  for (const { IP, Host } of message.extraHosts)
    if (isIP(IP) === 0 || /[\s#]/.test(Host) || Host === "")
      throw new RpcError(
        CODE.INVALID_ARGUMENT,
        `${printable(Host)}=${printable(IP)} is not a host name and its address`,
      );
  const inputs: Ref[] = [];
  const mounts = message.Mounts.map((mount) => {
    const takesResult = mount.mountType === MountType.BIND || mount.mountType === MountType.CACHE;
    const result = takesResult && mount.resultID !== "" ? resultOf(mount.resultID) : null;
    if (result !== null) inputs.push(result);
    return { ...mount, resultID: "", input: BigInt(result === null ? -1 : inputs.length - 1), output: -1n };
  });
  return {
    op: execOf(message, mounts, inputs.length),
    inputs,
    path: PATHS[message.platform?.OS ?? ""] ?? null,
  };
}

/** The request as the op it stands for, read and checked like one of a graph. */
function execOf(
  { Network, hostname, extraHosts }: NewContainerRequest,
  mounts: NewContainerRequest["Mounts"],
  inputs: number,
): ExecOp {
  const message = create(OpSchema, {
    inputs: Array.from({ length: inputs }, (_, index) => ({
      digest: digestOf(`result ${index}`),
      index: 0n,
    })),
    op: {
      case: "exec",
      value: { network: Network, mounts, meta: { args: ["-"], cwd: "/", hostname, extraHosts } },
    },
  });
  const { op } = decodeOp(toBinary(OpSchema, message));
  if (op.kind !== "exec") throw new Error("an exec op was read as another");
  return op;
}
