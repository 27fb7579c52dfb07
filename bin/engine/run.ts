// `tsbuild run`: runs a built or pulled image in the sandbox that RUN uses.

import { randomBytes } from "node:crypto";
import { isAbsolute, join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import type { CallContext, ImageConfig } from "../../solver/graph/request.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import { isNameless } from "../../cache/image-record.ts";
import { formatReference, parseReference } from "../../cache/registry/reference.ts";
import { processBound } from "../../worker/process-bound.ts";
import { openWorker } from "../../worker/worker.ts";
import type { ExecControl } from "../../worker/keeper/contract.ts";
import type { ExecJobMount } from "../../worker/keeper/messages.ts";
import type { EngineParts } from "./parts.ts";
import type { EngineRunOptions, RunRequest } from "./request.ts";
import { resolvConfOf } from "./host-network.ts";
import { findImage } from "./local-images.ts";
import { shownOnce } from "./shown-once.ts";
import type { Store } from "../../cache/contract.ts";

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHM_BYTES = 64 << 20;

/** Runs the command; its file changes are discarded. Returns the exit code. Throws IMAGE_UNKNOWN, EXEC_FAILED… */
export async function runImage(
  parts: EngineParts,
  request: RunRequest,
  options: EngineRunOptions,
): Promise<number> {
  const { store } = parts;
  const terminal = request.tty ? options.terminal : null;
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const network = request.network === "default" ? "sandbox" : request.network;
  parts.keeper(network === "sandbox"); // starts while the image is looked up
  const identifier = identifierOf(store, request.image);
  await using worker = openWorker({
    store,
    keeper: parts.keeper,
    registry: async () => {
      if (request.pull === "never") {
        throw new BuildError("IMAGE_UNKNOWN", `No such image: ${request.image}`, {
          hint: "run 'tsbuild images' to list local images",
        });
      }
      return parts.registry(options.session);
    },
    transport: parts.transport,
    gitVariables: parts.gitVariables,
    entitlements: new Set(),
    resolveMode: request.pull === "always" && identifier === null ? "pull" : "default",
    resolvConf: resolvConfOf(parts.config.dns ?? null),
    defaultPlatform: hostPlatform(),
    limits: request.limits,
    signal: options.signal,
  });
  await using lease = store.lease();
  const image = await worker.images.load(
    identifier ?? `docker-image://${request.image}`,
    {},
    request.platform ?? hostPlatform(),
    options,
  );
  lease.addLayers(image.layers);
  const dirs = await shownOnce(context, `load ${request.image}`, (vertex, context) =>
    worker.unpacker.directories(image.layers, vertex, context),
  );
  const { config } = JSON.parse(new TextDecoder().decode(image.config)) as ImageConfig;

  const entrypoint =
    request.entrypoint === null
      ? (config.Entrypoint ?? [])
      : request.entrypoint === ""
        ? []
        : [request.entrypoint];
  const command =
    request.args.length > 0 ? request.args : request.entrypoint === null ? (config.Cmd ?? []) : [];
  const args = [...entrypoint, ...command];
  if (args.length === 0) {
    throw new BuildError("USAGE", "no command specified", {
      hint: `tsbuild run ${request.image} COMMAND`,
      exitCode: 125,
    });
  }
  const workdir = request.workdir ?? (config.WorkingDir || "/");
  if (!isAbsolute(workdir))
    throw new BuildError(
      "USAGE",
      `the working directory '${workdir}' is invalid, it needs to be an absolute path`,
      { exitCode: 125 },
    );

  await using active = store.layers.prepare();
  const mounts: ExecJobMount[] = [
    ...request.tmpfs.map(({ target, sizeBytes }): ExecJobMount => ({ kind: "tmpfs", target, sizeBytes })),
    ...request.volumes.map(
      ({ source, target, readonly }): ExecJobMount => ({
        kind: "directory",
        target,
        path: source,
        readonly,
        owner: null,
        fileAllowed: true,
      }),
    ),
  ];
  if (request.shmSizeBytes !== null && request.shmSizeBytes !== SHM_BYTES) {
    mounts.unshift({ kind: "tmpfs", target: "/dev/shm", sizeBytes: request.shmSizeBytes });
  }
  await using cgroup = await worker.cgroup(request.cgroupParent, context);
  const feeding = new AbortController();
  let stopResizing = (): void => {};
  options.onReady();
  try {
    const outcome = await parts.keeper().exec(
      {
        rootfs: { dirs, upper: active.upper, work: active.work, readonly: request.readonlyRoot },
        args,
        env: withDefaultPath(mergeEnv(config.Env ?? [], request.env)),
        cwd: join("/", workdir),
        user: request.user ?? config.User ?? "",
        hostname: request.hostname ?? randomBytes(6).toString("hex"),
        extraHosts: request.extraHosts,
        resolvConf: resolvConfOf(parts.config.dns ?? null)(network === "none" ? "none" : "host"),
        network,
        security: "sandbox",
        mounts,
        rlimits: request.ulimits,
        processes: processBound(request.limits?.pids ?? null, request.ulimits),
        tty: terminal === null ? null : terminal.size(),
        stdin: options.stdin !== null,
        devices: [],
        ...(cgroup === null ? {} : { cgroup: cgroup.dir }),
      },
      {
        signal: options.signal,
        onOutput: options.onOutput,
        onStart(control) {
          if (options.stdin !== null) void feed(control, options.stdin, feeding.signal);
          if (terminal === null) return;
          stopResizing = terminal.onResize(() => {
            const { rows, columns } = terminal.size();
            control.resize(rows, columns);
          });
        },
      },
    );
    if (outcome.otherNetwork !== undefined) worker.tellNetwork(outcome.otherNetwork, args.join(" "), context);
    return outcome.code ?? 128 + (outcome.signal ?? 0);
  } finally {
    feeding.abort();
    stopResizing();
  }
}

/** Sends standard input until it or the command ends. Owned by the command: nobody waits for it. */
async function feed(
  control: ExecControl,
  input: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const chunk of input) {
      if (signal.aborted) return;
      await new Promise<void>((resolve) => control.stdin(chunk, resolve));
    }
    control.stdin(null);
  } catch {
    // Broken input is treated as its end; the command's exit code shows the outcome.
    if (!signal.aborted) control.stdin(null);
  }
}

/** Later entries replace earlier ones of the same name. */
function mergeEnv(base: readonly string[], added: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of [...base, ...added]) merged.set(entry.slice(0, Math.max(0, entry.indexOf("="))), entry);
  return [...merged.values()];
}

function withDefaultPath(env: string[]): string[] {
  return env.some((entry) => entry.startsWith("PATH=")) ? env : [DEFAULT_PATH, ...env];
}

/** The image of an ID, or of a prefix of one; null: it is a name. Throws IMAGE_UNKNOWN. */
function identifierOf(store: Store, text: string): string | null {
  const hex = /^(sha256:)?([a-f0-9]{4,64})$/.exec(text);
  if (hex === null) return null;
  try {
    const { record } = findImage(store, text);
    if (isNameless(record.name)) return `docker-image://${record.name}`;
    const digest = record.target.digest;
    return `docker-image://${formatReference({ ...parseReference(record.name), digest })}`;
  } catch (error) {
    // A few hex digits may be a name in a registry.
    const mayBeName = hex[1] === undefined && text.length < 64;
    const isUnknown = error instanceof BuildError && error.message.startsWith("No such image");
    if (isUnknown && mayBeName) return null;
    throw error;
  }
}
