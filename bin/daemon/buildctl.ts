// The process of tsbuildd under the name buildctl: what drivers and connection helpers start where the daemon is. `dial-stdio` connects
// standard input and output to the daemon's socket; `debug workers` and `debug info` say whether it answers, and who it is.

import { existsSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { BuildError } from "../../solver/graph/error.ts";
import { packageVersion } from "../version.ts";
import { addressOf, defaultSocket } from "./address.ts";
import { dial, tlsFilesIn } from "./dial.ts";

const HELP = `Usage:  buildctl [OPTIONS] COMMAND

The part of buildctl that drivers of docker buildx start beside a daemon

Commands:
  dial-stdio      Connect standard input and output to the daemon
  debug workers   List the daemon's workers; fails when it does not answer
  debug info      Show the daemon's version

Options:
      --addr address          Address of the daemon: unix://PATH or tcp://HOST:PORT (BUILDKIT_HOST)
      --format '{{json .}}'   Print JSON
      --timeout seconds       For the connection and the answer (default 5)
      --tlscacert file        Authority of the daemon's certificate
      --tlscert file          Certificate of this client
      --tlskey file           Its key
      --tlsdir dir            Directory with all three: ca.pem, cert.pem, key.pem
      --tlsservername name    Name in the daemon's certificate
      --version               Print the version
`;

const OPTIONS = {
  addr: { type: "string" },
  debug: { type: "boolean" },
  format: { type: "string" },
  help: { type: "boolean", short: "h" },
  timeout: { type: "string", default: "5" },
  tlscacert: { type: "string" },
  tlscert: { type: "string" },
  tlsdir: { type: "string" },
  tlskey: { type: "string" },
  tlsservername: { type: "string" },
  verbose: { type: "boolean", short: "v" },
  version: { type: "boolean" },
  wait: { type: "boolean" },
} as const;

void run(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    if (error instanceof BuildError && error.hint !== null) process.stderr.write(`hint: ${error.hint}\n`);
    process.exit(1);
  },
);

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (cause) {
    const [words = ""] = (cause as Error).message.split(/[.\n]/, 1);
    throw new BuildError("USAGE", words, {
      cause,
      hint: "this buildctl only has dial-stdio and debug; buildctl of BuildKit has the other commands",
    });
  }
}

async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsed(args);
  const command = positionals.join(" ");
  if (values.version === true) {
    process.stdout.write(`buildctl tsbuild v${packageVersion()} -\n`);
    return 0;
  }
  if (values.help === true || command === "") {
    process.stdout.write(HELP);
    return 0;
  }
  if (!["dial-stdio", "debug workers", "debug info"].includes(command))
    throw new BuildError("USAGE", `this buildctl has no command ${JSON.stringify(command)}`, {
      hint: "it is a part of tsbuildd; see buildctl --help",
    });
  const timeoutMs = Number(values.timeout) * 1000;
  if (!(timeoutMs > 0)) throw new BuildError("USAGE", "--timeout must be a number of seconds");
  const tls = tlsFilesIn(values.tlsdir ?? null, {
    cert: values.tlscert ?? null,
    key: values.tlskey ?? null,
    ca: values.tlscacert ?? null,
  });
  const address = addressOf(values.addr ?? defaultAddress(), tls, process.cwd());
  const servername = values.tlsservername ?? null;
  const socket = await dial(address, { servername, timeoutMs, isPatient: values.wait === true });
  if (command !== "dial-stdio") {
    const { debugInfo, debugWorkers } = await import("./buildctl-debug.ts");
    const print = (text: string): void => void process.stdout.write(text);
    const show = command === "debug info" ? debugInfo : debugWorkers;
    await show(socket, { print, asJson: isJson(values.format), timeoutMs });
    return 0;
  }
  // Standard input may end first: then the daemon is told so, and goes on. When the daemon ends, nobody waits for standard input.
  pipeline(process.stdin, socket).catch(() => {}); // told by the other direction
  await pipeline(socket, process.stdout);
  return 0;
}

function isJson(format: string | undefined): boolean {
  if (format === undefined) return false;
  if (/^\{\{\s*json \.\s*\}\}$/.test(format)) return true;
  throw new BuildError("USAGE", `unsupported format ${JSON.stringify(format)}`, { hint: "use '{{json .}}'" });
}

/** BUILDKIT_HOST, else the socket that is there of buildkitd's and tsbuildd's usual ones. */
function defaultAddress(): string {
  const { env } = process;
  if (env["BUILDKIT_HOST"]) return env["BUILDKIT_HOST"];
  const isRoot = process.getuid?.() === 0;
  const usual = (["buildkitd", "tsbuildd"] as const).flatMap(
    (name) => defaultSocket(name, env, isRoot) ?? [],
  );
  const path = usual.find((one) => existsSync(one)) ?? usual[0] ?? "/run/buildkit/buildkitd.sock";
  return `unix://${path}`;
}
