// The process of tsbuildd: flags, configuration and environment to an engine and its addresses; signals. SIGTERM and SIGINT end it, a
// second one at once; SIGHUP reads the configuration again.

import { constants } from "node:os";
import { basename } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { commandHelp, parseFlags, type ParsedFlags } from "../args.ts";
import { type Config, readConfig } from "../config.ts";
import { openLocalEngine } from "../local-store.ts";
import { parseStorageLimit } from "../storage-limit.ts";
import { openTracing } from "../tracing.ts";
import { packageVersion } from "../version.ts";
import type { ProgramName } from "./address.ts";
import { type DaemonSettings, readSettings } from "./config.ts";
import { DAEMON_FLAGS } from "./config-flags.ts";
import type { Daemon } from "./daemon.ts";
import { passedSockets } from "./listen.ts";
import { type Log, openLog } from "./log.ts";

const program: ProgramName = basename(process.argv[1] ?? "") === "buildkitd" ? "buildkitd" : "tsbuildd";
const log = openLog((text) => void process.stderr.write(text), { format: "text", level: "info" });

const ending = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) {
  process.on(name, () => {
    if (!ending.signal.aborted) return ending.abort(name);
    log.warn("ends at once: a second signal");
    process.exit(128 + constants.signals[name]); // keepers and their steps end with this process
  });
}
// What one client's build throws outside of any await is no reason to end the builds of others.
process.on("uncaughtException", (error) => log.error(`internal error: ${error.stack ?? error.message}`));
// Who reads our log may leave before us.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
// No await at the top level: a bundle is one script. The timer holds the event loop, as in bin/main.ts.
setInterval(() => {}, 2 ** 30);
void run(process.argv.slice(2)).then((code) => process.exit(code));

/** Runs the daemon until it is told to end. Returns the exit code. */
async function run(args: readonly string[]): Promise<number> {
  try {
    const flags = parseFlags(DAEMON_FLAGS, args);
    if (flags.bool("help")) {
      process.stdout.write(
        `${commandHelp(DAEMON_FLAGS)}\nAll other flags of buildkitd are taken, without effect.\n`,
      );
      return 0;
    }
    const version = packageVersion();
    if (flags.bool("version")) {
      process.stdout.write(`${program} tsbuild v${version} -\n`); // four words, which buildx reads
      return 0;
    }
    await serve(flags, version);
    return 0;
  } catch (error) {
    const isKnown = error instanceof BuildError;
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    log.error(isKnown ? error.message : stack);
    if (isKnown && error.hint !== null) log.info(`hint: ${error.hint}`);
    return 1;
  }
}

async function serve(flags: ParsedFlags, version: string): Promise<void> {
  const { env } = process;
  const cwd = process.cwd();
  const passed = passedSockets(env, process.pid);
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  const isRoot = process.getuid?.() === 0;
  // From the beginning: without a listener the signal ends the process.
  let isAsked = false;
  let reload = async (): Promise<void> => void (isAsked = true);
  let reloading = Promise.resolve();
  process.on("SIGHUP", () => {
    reloading = reloading.then(() => reload());
  });
  const read = (): Promise<DaemonSettings> => readSettings(flags, { program, env, cwd, isRoot });
  let settings = await read();
  log.set(settings.log);
  for (const remark of settings.remarks) log.warn(remark);

  const config = engineConfig(flags, () => settings, cwd);
  const { openDaemon } = await import("./daemon.ts");
  await using engine = await openLocalEngine(config, { signal: new AbortController().signal });
  await using tracing = await openTracing(env, {
    ...{ service: "tsbuildd", version: () => version },
    warn: (text) => log.warn(text),
  });
  await using daemon = await openDaemon(engine, { settings, passed, version, log, tracing });
  for (const address of daemon.addresses) log.info(`${program} ${version} listens on ${address}`);
  for (const address of daemon.debugAddresses) {
    const isSocket = address.startsWith("unix:");
    log.info(
      `metrics are at ${isSocket ? `/metrics of ${address}` : `${address.replace(/^tcp:/, "http:")}/metrics`}`,
    );
  }

  const tell = await notifier(env);
  reload = async () => {
    try {
      const next = await read();
      const kept = unchangeable(settings, next);
      if (kept.length > 0)
        log.warn(`takes effect with the next start: ${kept.map((name) => FIXED[name]).join(", ")}`);
      settings = { ...next, ...pick(settings, kept) };
      log.set(settings.log);
      daemon.reload(settings);
      log.info(`read ${settings.file} again`);
    } catch (error) {
      log.error(`goes on with the settings it has: ${(error as Error).message}`);
    }
  };
  if (isAsked) reloading = reloading.then(reload);
  tell("READY=1");
  await aborted(ending.signal);
  tell("STOPPING=1");
  await drain(daemon, settings.drainMs, log);
  log.info(`${program} ends`);
}

async function drain(daemon: Daemon, withinMs: number, log: Log): Promise<void> {
  const running = daemon.running();
  if (running === 0) return;
  const builds = running === 1 ? "1 build has" : `${running} builds have`;
  log.info(`ends when ${builds} ended, after ${withinMs / 1000} s at the latest`);
  await daemon.drain(withinMs);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** What the engine is told; what can change is looked up when a build needs it. */
function engineConfig(flags: ParsedFlags, current: () => DaemonSettings, cwd: string): Config {
  const { root, network, maxParallelism } = current();
  const told = new Set<string>();
  const config = readConfig(
    {
      root,
      debug: flags.bool("debug"),
      verbose: flags.bool("verbose"),
      notice(text) {
        if (told.has(text)) return;
        told.add(text);
        log.warn(text);
      },
    },
    process.env,
    cwd,
  );
  const usualLimit = parseStorageLimit(process.env["TSBUILD_MAX_STORAGE"]);
  return {
    ...config,
    network,
    maxParallelism,
    get dns() {
      return current().dns;
    },
    get registries() {
      const { mirrors, hosts } = current().registries;
      return { ...config.registries, mirrors, hosts };
    },
    /** By rules it is the collector that removes cache. */
    get maxStorage() {
      return current().gc.kind === "default" ? usualLimit : ({ kind: "unlimited" } as const);
    },
  };
}

/** What is used when the daemon starts and not looked at again, with its name in the configuration. */
const FIXED = {
  root: "root",
  addresses: "[grpc] address",
  debugAddress: "[grpc] debugAddress",
  owner: "[grpc] uid and gid",
  maxParallelism: "[worker.oci] max-parallelism",
  network: "[worker.oci] networkMode",
} as const;
type Fixed = keyof typeof FIXED;

function unchangeable(before: DaemonSettings, after: DaemonSettings): Fixed[] {
  const names = Object.keys(FIXED) as Fixed[];
  return names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
}

function pick(settings: DaemonSettings, names: readonly Fixed[]): Partial<DaemonSettings> {
  return Object.fromEntries(names.map((name) => [name, settings[name]]));
}

/** Tells the service manager of a unit with Type=notify, sd_notify(3). */
async function notifier(env: NodeJS.ProcessEnv): Promise<(text: string) => void> {
  const path = env["NOTIFY_SOCKET"];
  delete env["NOTIFY_SOCKET"];
  if (!path) return () => {};
  const { sendDatagram } = await import("../../worker/sys/datagram.ts");
  return (text) => {
    try {
      sendDatagram(path, text);
    } catch (error) {
      log.warn(`cannot tell the service manager ${text}: ${(error as Error).message}`);
    }
  };
}
