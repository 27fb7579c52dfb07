// `tsbuild run`: a built or pulled image started in the same sandbox that RUN uses.

import { isAbsolute, join } from "node:path";
import { digestOf } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { CallContext, ImageConfig } from "../solver/graph/request.ts";
import { hostPlatform } from "../solver/graph/platform.ts";
import { openWorker } from "../worker/worker.ts";
import type { ExecControl } from "../worker/keeper/keeper.ts";
import type { ExecJobMount } from "../worker/keeper/messages.ts";
import type { EngineParts } from "./engine.ts";
import type { EngineRunOptions, RunRequest } from "./config.ts";
import { resolvConfFor } from "./host-network.ts";

const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHM_BYTES = 64 << 20;

/** Runs the command; its file changes are thrown away. Returns the exit code. Throws IMAGE_UNKNOWN, EXEC_FAILED… */
export async function runImage(
  parts: EngineParts,
  request: RunRequest,
  options: EngineRunOptions,
): Promise<number> {
  const { store } = parts;
  const context: CallContext = { signal: options.signal, session: options.session, emit: options.emit };
  const network = request.network === "default" ? parts.defaultNetwork() : request.network;
  parts.keeper(network === "sandbox"); // starts while the image is looked up
  await using worker = openWorker({
    store,
    keeper: parts.keeper,
    registry: async () => {
      if (request.pull === "never") {
        throw new BuildError("IMAGE_UNKNOWN", `No such image: ${request.image}`, {
          hint: "'tsbuild images' lists the local ones",
        });
      }
      return parts.registry(options.session);
    },
    entitlements: new Set(),
    resolveMode: request.pull === "always" ? "pull" : "default",
    resolvConf: resolvConfFor,
    defaultNetwork: parts.defaultNetwork,
    defaultPlatform: hostPlatform(),
    limits: request.limits,
    signal: options.signal,
  });
  await using lease = store.lease();
  const image = await worker.images.load(
    `docker-image://${request.image}`,
    {},
    request.platform ?? hostPlatform(),
    options,
  );
  lease.addLayers(image.layers);
  const dirs = await worker.unpacker.directories(image.layers, digestOf(`run ${request.image}`), context);
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
  try {
    const outcome = await parts.keeper().exec(
      {
        rootfs: { dirs, upper: active.upper, work: active.work, readonly: request.readonlyRoot },
        args,
        env: withDefaultPath(mergeEnv(config.Env ?? [], request.env)),
        cwd: join("/", workdir),
        user: request.user ?? config.User ?? "",
        hostname: request.hostname ?? digestOf(`${process.pid} ${performance.now()}`).slice(7, 19),
        extraHosts: request.extraHosts,
        resolvConf: resolvConfFor(network === "none" ? "none" : "host"),
        network,
        security: "sandbox",
        mounts,
        rlimits: request.ulimits,
        tty: request.tty ? { rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 } : null,
        stdin: options.stdin !== null,
        devices: [],
        ...(cgroup === null ? {} : { cgroup: cgroup.dir }),
      },
      {
        signal: options.signal,
        onOutput: options.onOutput,
        onStart(control) {
          if (options.stdin !== null) void feed(control, options.stdin, feeding.signal);
          if (request.tty) {
            const resize = (): void =>
              control.resize(process.stdout.rows || 24, process.stdout.columns || 80);
            process.stdout.on("resize", resize);
            stopResizing = () => process.stdout.off("resize", resize);
          }
        },
      },
    );
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
      control.stdin(chunk);
    }
    control.stdin(null);
  } catch {
    // Input that breaks is input that ends; the command's exit code tells what it made of it.
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
