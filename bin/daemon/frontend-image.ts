// Frontends in images (`# syntax=`, gateway.v0): run as a container on the image, with the gateway on standard input and output. BuildKit,
// "Frontends in images"; docs/reference of the Dockerfile, "syntax".

import { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { formatReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";
import { digestOf } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { encodeDefinition } from "../../solver/graph/llb-definition.ts";
import { openGraph } from "../../solver/graph/llb.ts";
import type { ExecOp } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { unlessAborted } from "../../solver/graph/scope.ts";
import type { Container, ExecControl } from "../engine/request.ts";
import type { Bridge, Ref } from "../engine/bridge-contract.ts";
import type { Result } from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";
import type { WorkerRecord } from "../wire/messages/moby/buildkit/v1/types/worker_pb.ts";
import { serveRpc } from "../wire/server.ts";
import { CODE, RpcError } from "../wire/status.ts";
import type { Build } from "./builds.ts";
import type { FrontendSettings } from "./config-file.ts";
import { bridgeHandlers } from "./gateway.ts";
import { healthHandlers } from "./health.ts";
import { openPromise } from "./open-promise.ts";
import { imageIn, pinned } from "./source-meta.ts";
import type { SolveCall } from "./solve-call.ts";

/** A frontend may use another, which may use another; more are refused. */
const DEPTH_MAX = 8;
/** Of one build at one time: each is a process, and may ask for several others. */
const RUNNING_MAX = 32;
/** Of what a frontend writes to standard error, for the error of one that fails. */
const WORDS_MAX_CHARS = 4_000;
/** Between the end of a frontend's connection and its own. */
const END_MS = 2_000;
const LABEL = "moby.buildkit.frontend";
const METADATA = "/run/config/buildkit/metadata";

export interface FrontendImageDeps {
  readonly settings: () => FrontendSettings;
  readonly workers: () => readonly WorkerRecord[];
  readonly log: (line: string) => void;
}

/** Gives what runs frontends in images: the result they return. It throws RpcError, BuildError. */
export function openFrontendImages(
  deps: FrontendImageDeps,
): (build: Build, call: SolveCall) => Promise<Result | undefined> {
  const depths = new WeakMap<Build, number>();
  /** By what a build has in common with those inside of it. */
  const running = new WeakMap<Build["bridge"], number>();
  return async (build, call) => {
    const others = running.get(build.bridge) ?? 0;
    if (others >= RUNNING_MAX)
      throw new RpcError(
        CODE.RESOURCE_EXHAUSTED,
        `frontends that use frontends, more than ${RUNNING_MAX} at one time`,
      );
    running.set(build.bridge, others + 1);
    try {
      return await runFrontend(build, call);
    } finally {
      running.set(build.bridge, (running.get(build.bridge) ?? 1) - 1);
    }
  };

  async function runFrontend(build: Build, call: SolveCall): Promise<Result | undefined> {
    const depth = (depths.get(build) ?? 0) + 1;
    if (depth > DEPTH_MAX)
      throw new RpcError(
        CODE.RESOURCE_EXHAUSTED,
        `frontends that use frontends, more than ${DEPTH_MAX} deep`,
      );
    const name = nameOf(call.options["source"] ?? "", deps.settings());
    const bridge = await build.bridge;
    const image = await openImage(bridge, name);
    const returned = openPromise<Result | undefined>();
    // What the frontend asks for is of the same build, but for what it was given and what it returns.
    const inner: Build = {
      ...build,
      request: { ...build.request, FrontendInputs: { ...call.inputs } },
      returned: returned.promise,
      finish: returned.resolve,
      fail: returned.reject,
    };
    depths.set(inner, depth);
    await using container = await bridge.openContainer({
      op: mountsOf(image.isConnected),
      inputs: [image.root, image.metadata],
      path: null,
    });
    const environment = [...image.env, ...variablesOf(call, build, deps.workers())];
    const process = startProcess(container, { ...image, env: environment }, { build, name });
    const handlers = new Map([
      ...bridgeHandlers(async () => inner, deps.workers),
      ...healthHandlers(new AbortController().signal),
    ]);
    const served = serveRpc(process.stream, handlers, {
      onFault: (error) => deps.log(`internal error: ${error instanceof Error ? error.stack : String(error)}`),
    });
    const over = new AbortController();
    try {
      const cut = served.closed.then(() => neverReturned(name, over.signal));
      cut.catch(() => {}); // told to who waits for it
      return await unlessAborted(Promise.race([returned.promise, process.failed, cut]), build.signal);
    } finally {
      over.abort();
      process.end();
      served.session.destroy();
    }
  }
}

/** Throws for a frontend whose connection is over; its end, which says more, comes first. */
async function neverReturned(name: string, signal: AbortSignal): Promise<never> {
  await delay(END_MS, undefined, { signal });
  throw new BuildError("EXEC_FAILED", `the frontend ${name} ended its connection without a result`, {
    hint: "is it an image of a frontend? They speak gRPC on their standard input and output",
  });
}

/** The full name. Throws for one that may not be used. */
function nameOf(source: string, { gateway, gatewayRepositories }: FrontendSettings): string {
  if (!gateway)
    throw new RpcError(CODE.PERMISSION_DENIED, "frontends in images are switched off on this builder");
  const reference = withDefaultTag(parseReference(source));
  const { host, repository } = reference;
  const isAllowed =
    gatewayRepositories.length === 0 ||
    gatewayRepositories.some((allowed) => {
      const known = parseReference(allowed);
      return known.host === host && known.repository === repository;
    });
  const name = formatReference(reference);
  if (!isAllowed)
    throw new RpcError(CODE.PERMISSION_DENIED, `'${printable(name)}' is not an allowed gateway source`);
  return name;
}

interface FrontendImage {
  readonly root: Ref;
  /** Its own definition, as a file. */
  readonly metadata: Ref;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly isConnected: boolean;
}

/** The image by the digest it has now. */
async function openImage(bridge: Bridge, name: string): Promise<FrontendImage> {
  const identifier = `docker-image://${name}`;
  const resolved = await bridge.resolveSource(
    { kind: "source", identifier, attrs: {} },
    {
      ...{ platform: null, name: `resolve image config for ${identifier}` },
      ...{ gitObjects: false, resolveMode: "" },
    },
  );
  const { config } = imageIn(resolved.source, resolved.found);
  const source = pinned(resolved.source, resolved.found);
  const graph = openGraph();
  const noteOf = (title: string) => ({ name: title, ignoreCache: false, at: [], group: null });
  const definition = graph.definition(graph.add(source, hostPlatform(), [], noteOf(source.identifier)));
  const about = openGraph();
  const file = {
    kind: "mkfile",
    path: "/frontend.bin",
    mode: 0o444,
    data: encodeDefinition(definition),
    ...{ owner: null, timestampNs: null, base: null, output: 0 },
  } as const;
  const written = about.add(
    { kind: "file", actions: [file] },
    null,
    [],
    noteOf("[internal] frontend metadata"),
  );
  const [root, metadata] = await Promise.all(
    [definition, about.definition(written)].map((one) => bridge.define(one, { cacheFrom: [] })),
  );
  if (root === undefined || metadata === undefined) throw new Error("two graphs have two results");
  return { root, metadata, ...processOf(config, name) };
}

function processOf(config: Uint8Array, name: string): Omit<FrontendImage, "root" | "metadata"> {
  const raw = (JSON.parse(Buffer.from(config).toString()) as { readonly config?: unknown }).config;
  const fields = (raw ?? {}) as Readonly<Record<string, unknown>>;
  const texts = (key: string): string[] => {
    const value = fields[key] ?? [];
    if (!Array.isArray(value) || !value.every((one) => typeof one === "string"))
      throw new BuildError(
        "IMAGE_INVALID",
        `${key} of the frontend ${printable(name)} is not a list of strings`,
      );
    return value;
  };
  const text = (key: string): string => (typeof fields[key] === "string" ? fields[key] : "");
  const labels = (fields["Labels"] ?? {}) as Readonly<Record<string, unknown>>;
  const command = [...texts("Entrypoint"), ...texts("Cmd")];
  return {
    args: command.length > 0 ? command : ["/run"],
    env: texts("Env"),
    cwd: text("WorkingDir") || "/",
    user: text("User"),
    // A frontend asks the builder for what it needs of the network, unless its image says that it goes there itself.
    isConnected: labels[`${LABEL}.network.none`] === "false",
  };
}

function mountsOf(isConnected: boolean): ExecOp {
  const bind = { kind: "bind", selector: "", output: null } as const;
  return {
    kind: "exec",
    ...{ args: ["-"], env: [], cwd: "/", user: "", proxyEnv: null, extraHosts: [], hostname: "" },
    ...{ ulimits: [], cgroupParent: "", validExitCodes: [], secretEnv: [], devices: [] },
    mounts: [
      { ...bind, input: 0, target: "/", readonly: false },
      { ...bind, input: 1, target: METADATA, readonly: true },
    ],
    network: isConnected ? "sandbox" : "none",
    security: "sandbox",
  };
}

/** The environment in which a frontend finds what it was called with. */
function variablesOf({ options }: SolveCall, build: Build, workers: readonly WorkerRecord[]): string[] {
  const given = Object.entries(options).map(
    ([name, value], index) => `BUILDKIT_FRONTEND_OPT_${index}=${name}=${value}`,
  );
  const list = workers.map(({ ID, Labels, platforms }) => ({
    ID,
    Labels,
    Platforms: platforms.map(({ OS, Architecture, Variant }) => ({
      architecture: Architecture,
      os: OS,
      ...(Variant === "" ? {} : { variant: Variant }),
    })),
  }));
  return [
    ...given,
    `BUILDKIT_SESSION_ID=${build.session?.id ?? ""}`,
    `BUILDKIT_WORKERS=${JSON.stringify(list)}`,
    "BUILDKIT_EXPORTEDPRODUCT=tsbuild",
  ];
}

interface RunningFrontend {
  /** Its standard streams. */
  readonly stream: Duplex;
  /** Rejects when it ends: whoever has returned a result by then is not waiting any more. */
  readonly failed: Promise<never>;
  end(): void;
}

function startProcess(
  container: Container,
  { args, env, cwd, user }: Pick<FrontendImage, "args" | "env" | "cwd" | "user">,
  { build, name }: { readonly build: Build; readonly name: string },
): RunningFrontend {
  const controller = new AbortController();
  let control: ExecControl | null = null;
  let words = "";
  /** Output that is not taken yet; the next piece comes before. */
  let untaken: (() => void)[] = [];
  const take = (): void => {
    const taken = untaken;
    untaken = [];
    for (const resolve of taken) resolve();
  };
  const stream = new Duplex({
    read: take,
    write(chunk: Buffer, _encoding, done) {
      if (control === null) done(new Error("the frontend has ended"));
      else control.stdin(chunk, () => done());
    },
    final(done) {
      control?.stdin(null);
      done();
    },
  });
  stream.on("error", () => {}); // told by its end
  stream.once("close", take);
  const tell = teller(build, name);
  const outcome = container.exec(
    { args, env, cwd, user, security: "sandbox", tty: null, stdin: true, secretEnv: [] },
    {
      signal: AbortSignal.any([controller.signal, build.signal]),
      onControl(given) {
        control = given;
      },
      async onOutput(fd, data) {
        if (fd === 2) {
          words = `${words}${Buffer.from(data).toString()}`.slice(-WORDS_MAX_CHARS);
          tell(data);
          return;
        }
        if (stream.destroyed || stream.push(Buffer.from(data))) return;
        await new Promise<void>((resolve) => void untaken.push(resolve));
      },
    },
  );
  const failed = outcome.then(
    ({ code, signal }) => {
      control = null;
      stream.push(null);
      const how = signal === null ? `exit code: ${code}` : `signal ${signal}`;
      const said = words.trim() === "" ? "" : `: ${printable(words.trim(), WORDS_MAX_CHARS)}`;
      throw new BuildError("EXEC_FAILED", `the frontend ${name} ended without a result (${how})${said}`);
    },
    (error: unknown) => {
      control = null;
      stream.destroy();
      throw error;
    },
  );
  failed.catch(() => {}); // told to who waits for it
  return {
    stream,
    failed,
    end: () => controller.abort(new RpcError(CODE.CANCELLED, "the frontend is done")),
  };
}

/** What a frontend writes to standard error, as the log of a step. */
function teller({ status }: Build, name: string): (data: Uint8Array) => void {
  const vertex = digestOf(`frontend ${name}`);
  let isTold = false;
  return (data) => {
    const atMs = Date.now();
    if (!isTold) status.event({ kind: "vertex", vertex, name: `frontend ${name}`, inputs: [], at: [] });
    if (!isTold) status.event({ kind: "started", vertex, atMs });
    isTold = true;
    status.event({ kind: "log", vertex, atMs, fd: 2, data });
    status.event({ kind: "done", vertex, atMs });
  };
}
