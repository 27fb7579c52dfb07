// tsbuildd: flags and environment to an engine and its addresses; ends with SIGTERM or SIGINT.

import { join, resolve } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { commandHelp, type CommandSpec, parseFlags, type ParsedFlags } from "../args.ts";
import { readConfig } from "../config.ts";
import { openLocalEngine } from "../local-store.ts";
import { packageVersion } from "../version.ts";
import type { Address } from "./daemon.ts";

const SPEC: CommandSpec = {
  name: "tsbuildd",
  usage: "[OPTIONS]",
  summary: "Serve builds to clients of BuildKit: docker buildx, docker/build-push-action",
  positionals: { min: 0, max: 0 },
  flags: [
    {
      name: "addr",
      kind: "list",
      value: "address",
      help: "Listening address: unix://PATH or tcp://HOST:PORT (may be repeated)",
    },
    {
      name: "tlscert",
      kind: "string",
      value: "file",
      help: "Certificate of the server, for tcp:// addresses",
    },
    { name: "tlskey", kind: "string", value: "file", help: "Key of the certificate" },
    { name: "tlscacert", kind: "string", value: "file", help: "Authority of the clients' certificates" },
    {
      name: "allow-insecure-entitlement",
      kind: "list",
      value: "name",
      help: "Entitlement that builds may be granted: network.host, security.insecure, device (may be repeated)",
    },
    { name: "version", short: "v", kind: "bool", help: "Print the version" },
  ],
};

const controller = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => controller.abort());
// What one client's build throws outside of any await is no reason to end the builds of others.
process.on("uncaughtException", (error) => {
  process.stderr.write(`tsbuildd: internal error: ${error.stack ?? error.message}\n`);
});
// Who reads our log may leave before us.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
// No await at the top level: a bundle is one script. The timer holds the event loop, as in bin/main.ts.
setInterval(() => {}, 2 ** 30);
void run(process.argv.slice(2)).then((code) => process.exit(code));

/** Runs the daemon until it is told to end. Returns the exit code. */
async function run(args: readonly string[]): Promise<number> {
  try {
    const flags = parseFlags(SPEC, args);
    if (flags.bool("help")) {
      process.stdout.write(commandHelp(SPEC));
      return 0;
    }
    const version = packageVersion();
    if (flags.bool("version")) {
      process.stdout.write(`tsbuildd tsbuild v${version} -\n`); // four words, which buildx reads
      return 0;
    }
    await serve(flags, version, controller.signal);
    return 0;
  } catch (error) {
    const isKnown = error instanceof BuildError;
    const message =
      error instanceof Error ? (isKnown ? error.message : (error.stack ?? error.message)) : String(error);
    process.stderr.write(`ERROR: ${message}\n`);
    if (isKnown && error.hint !== null) process.stderr.write(`hint: ${error.hint}\n`);
    return 1;
  }
}

async function serve(flags: ParsedFlags, version: string, signal: AbortSignal): Promise<void> {
  const { env } = process;
  const cwd = process.cwd();
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  const config = readConfig(
    { root: flags.one("root"), debug: flags.bool("debug"), verbose: flags.bool("verbose"), notice: log },
    env,
    cwd,
  );
  const texts = flags.all("addr");
  const addresses = (texts.length > 0 ? texts : [defaultAddress()]).map((text) =>
    addressOf(text, flags, cwd),
  );
  const { openDaemon } = await import("./daemon.ts");
  await using engine = await openLocalEngine(config, { signal: new AbortController().signal });
  await using daemon = await openDaemon(engine, {
    addresses,
    allowed: new Set(flags.all("allow-insecure-entitlement")),
    version,
    log,
  });
  for (const address of daemon.addresses) log(`tsbuildd ${version} listens on ${address}`);
  if (!signal.aborted)
    await new Promise<void>((end) => signal.addEventListener("abort", () => end(), { once: true }));
  log("tsbuildd ends");
}

function defaultAddress(): string {
  const runtime = process.getuid?.() === 0 ? "/run" : process.env["XDG_RUNTIME_DIR"];
  if (!runtime)
    throw new BuildError("USAGE", "there is no directory for the socket: XDG_RUNTIME_DIR is not set", {
      hint: "give an address: --addr unix://PATH",
    });
  return `unix://${join(runtime, "tsbuild", "tsbuildd.sock")}`;
}

function addressOf(text: string, flags: ParsedFlags, cwd: string): Address {
  const unix = /^unix:\/\/(.+)$/.exec(text)?.[1];
  if (unix !== undefined) return { kind: "unix", path: resolve(cwd, unix) };
  const tcp = /^tcp:\/\/(\[[^\]]+\]|[^:/]+):(\d{1,5})$/.exec(text);
  if (tcp === null || Number(tcp[2]) > 65_535)
    throw new BuildError("USAGE", `invalid address ${JSON.stringify(text)}`, {
      hint: "the forms are unix://PATH and tcp://HOST:PORT",
    });
  const [cert, key, ca] = ["tlscert", "tlskey", "tlscacert"].map((name) => flags.one(name));
  const isTls = [cert, key, ca].some(Boolean);
  if (isTls && !(cert && key && ca))
    throw new BuildError("USAGE", "--tlscert, --tlskey and --tlscacert go together");
  return {
    kind: "tcp",
    host: (tcp[1] ?? "").replace(/^\[|\]$/g, ""),
    port: Number(tcp[2]),
    tls:
      cert && key && ca ? { cert: resolve(cwd, cert), key: resolve(cwd, key), ca: resolve(cwd, ca) } : null,
  };
}
