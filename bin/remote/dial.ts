// Connections to builders: a socket, TLS, or the standard streams of a program.

import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { connect as connectSocket, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { readFileOf } from "../../cache/outside.ts";
import { endOf } from "../../cache/program.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Environment } from "../engine/config.ts";
import { type BuilderAddress, shownAddress, type TlsSettings } from "./address.ts";

/** To connect, and for the first answer of a builder. */
export const REACH_WITHIN_MS = 20_000;
const PEM_MAX_BYTES = 1 << 20;
const COMPLAINT_MAX_CHARS = 4_000;

export interface Connection extends AsyncDisposable {
  readonly stream: Duplex;
  /** What the program that makes it has said on standard error. */
  complaint(): string;
}

/** Connects. The connection closes when the builder has ended its side: a daemon that was killed answers nothing any more. Throws
 *  BUILDER_UNREACHABLE, USAGE for certificates that cannot be read, signal.reason. */
export async function dialBuilder(
  address: BuilderAddress,
  { env, signal }: { readonly env: Environment; readonly signal: AbortSignal },
): Promise<Connection> {
  switch (address.kind) {
    case "unix":
      return await opened(connectSocket({ path: address.path }), "connect", address, signal);
    case "tcp": {
      const { host, port, tls } = address;
      if (tls === null) return await opened(connectSocket({ host, port }), "connect", address, signal);
      const { connect } = await import("node:tls");
      const { isIP } = await import("node:net");
      const servername = tls.serverName ?? (isIP(host) === 0 ? host : "");
      const options = { host, port, ALPNProtocols: ["h2"], minVersion: "TLSv1.2", ...keys(tls) } as const;
      const named = servername === "" ? {} : { servername };
      return await opened(connect({ ...options, ...named }), "secureConnect", address, signal);
    }
    case "command":
      return startProgram(address, env);
  }
}

function keys({ ca, cert, key }: TlsSettings): Partial<Record<"ca" | "cert" | "key", Buffer>> {
  const read = (path: string): Buffer => {
    try {
      return readFileOf(path, PEM_MAX_BYTES);
    } catch (cause) {
      const why = cause instanceof BuildError ? cause.message : ((cause as NodeJS.ErrnoException).code ?? "");
      throw new BuildError("USAGE", `cannot read ${path}: ${why}`, { cause });
    }
  };
  return {
    ...(ca === null ? {} : { ca: read(ca) }),
    ...(cert === null ? {} : { cert: read(cert) }),
    ...(key === null ? {} : { key: read(key) }),
  };
}

async function opened(
  socket: Socket,
  event: "connect" | "secureConnect",
  address: BuilderAddress,
  signal: AbortSignal,
): Promise<Connection> {
  try {
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      const late = (): void => reject(new Error(`no answer within ${REACH_WITHIN_MS / 1000} s`));
      const timer = setTimeout(late, REACH_WITHIN_MS);
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      socket.once(event, () => {
        end();
        resolve();
      });
      socket.once("error", (error) => {
        end();
        reject(error);
      });
      socket.once("close", () => {
        end();
        reject(new Error("the connection was closed"));
      });
    });
  } catch (error) {
    socket.destroy();
    if (signal.aborted) throw error;
    throw unreachable(address, error, { complaint: "", wasReached: false });
  }
  socket.on("error", () => {}); // told by who reads it
  socket.setNoDelay(true);
  return {
    stream: socket,
    complaint: () => "",
    async [Symbol.asyncDispose]() {
      socket.destroy();
    },
  };
}

/** The program has a process group of its own: a Ctrl-C ends the build first, and the connection then. */
function startProgram(address: Extract<BuilderAddress, { kind: "command" }>, env: Environment): Connection {
  const { spawn } = process.getBuiltinModule("node:child_process");
  const child = spawn(address.file, [...address.args], {
    env: env as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "pipe"],
    detached: true,
  });
  const ending = endOf(child);
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_MAX_CHARS);
  });
  const stream = streamsOf(child);
  stream.on("error", () => {}); // told by who reads it
  child.once("error", (error: NodeJS.ErrnoException) => {
    complaint = error.code === "ENOENT" ? `${address.file} is not installed` : error.message;
    stream.destroy();
  });
  return {
    stream,
    complaint: () => complaint.trim(),
    async [Symbol.asyncDispose]() {
      stream.destroy();
      await ending.stop().catch(() => {}); // it could not be started
    },
  };
}

/** Standard output and input as one stream. (Duplex.from() of Node 20 fails an assertion of its own when the program ends early.) */
function streamsOf({ stdin, stdout }: ChildProcessWithoutNullStreams): Duplex {
  const stream = new Duplex({
    allowHalfOpen: false,
    read: () => void stdout.resume(),
    write: (chunk: Buffer, _encoding, done) => void stdin.write(chunk, done),
    final: (done) => void stdin.end(done),
    destroy(error, done) {
      stdin.destroy();
      stdout.destroy();
      done(error);
    },
  });
  stdin.on("error", () => {}); // told to who writes
  stdout.on("error", () => {});
  stdout.on("data", (chunk: Buffer) => {
    if (!stream.push(chunk)) stdout.pause();
  });
  stdout.on("end", () => void stream.push(null));
  return stream;
}

/** Why nothing is built. `complaint`: what the program of the connection said; wasReached: the builder had answered. */
export function unreachable(
  address: BuilderAddress,
  cause: unknown,
  { complaint, wasReached }: { readonly complaint: string; readonly wasReached: boolean },
): BuildError {
  const { code } = cause as NodeJS.ErrnoException;
  const said = complaint === "" ? "" : printable(complaint.split("\n").slice(-3).join(" "), 300);
  const text = cause instanceof Error ? cause.message : String(cause);
  const known = FAULTS[code ?? ""] ?? TLS_FAULTS.find(({ says }) => says.test(text));
  const why = known?.words ?? (code === "ECONNRESET" ? "the connection was closed" : text);
  const closedHint =
    wasReached || address.kind !== "tcp" ? null : address.tls === null ? PLAIN_HINT : CLOSED_HINT;
  return new BuildError(
    "BUILDER_UNREACHABLE",
    `${wasReached ? "lost the connection to" : "cannot reach"} the builder at ${shownAddress(address)}: ${said || why}`,
    { cause, hint: known === undefined ? closedHint : known.hint },
  );
}

const START_HINT =
  "start it (tsbuildd, buildkitd), or leave out --builder, TSBUILD_HOST and BUILDKIT_HOST to build here";
/** What the system says. */
const FAULTS: Readonly<Record<string, { readonly words: string; readonly hint: string | null }>> = {
  ENOENT: { words: "there is no such socket", hint: START_HINT },
  ECONNREFUSED: { words: "nobody listens there", hint: START_HINT },
  EACCES: { words: "permission denied", hint: null },
  ENOTFOUND: { words: "no such host", hint: null },
};

/** Its alert may be lost with the connection. */
const CLOSED_HINT =
  "if it wants a certificate of this client that it trusts, name it with --tlscert and --tlskey";

/** A server with TLS ends what does not begin with a handshake. */
const PLAIN_HINT = "if it speaks TLS, give --tlscacert, --tlscert and --tlskey";

/** What OpenSSL and Node say in words of their own. The alerts are TLS's, RFC 8446 section 6.2. */
const TLS_FAULTS: readonly { readonly says: RegExp; readonly words: string; readonly hint: string }[] = [
  {
    says: /alert certificate required|alert bad certificate|alert unknown ca|alert handshake failure/,
    words: "it wants a certificate of this client that it trusts",
    hint: "name it with --tlscert and --tlskey",
  },
  {
    says: /wrong version number|packet length too long/,
    words: "it does not speak TLS",
    hint: "leave out the --tls flags",
  },
  {
    says: /self.signed certificate|unable to verify|unable to get (local )?issuer/,
    words: "no authority that is trusted here vouches for its certificate",
    hint: "name the authority with --tlscacert",
  },
  {
    says: /Hostname\/IP does not match/,
    words: "its certificate is for another name",
    hint: "give a name that is in it with --tlsservername",
  },
];
