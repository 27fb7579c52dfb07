// Listening sockets: of our own, with TLS, and those that whoever started the daemon has opened.

import { createPrivateKey, X509Certificate } from "node:crypto";
import { chmodSync, chownSync, fstatSync, lstatSync, readFileSync, rmSync, statSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import {
  createSecureContext,
  createServer as createTlsServer,
  type TlsOptions,
  type TLSSocket,
} from "node:tls";
import { getSystemErrorMap } from "node:util";
import { makeDirectories } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { type Address, LOOPBACK, type TlsFiles } from "./address.ts";

/** A socket that was there when the process began. sd_listen_fds(3) */
export interface PassedSocket {
  readonly fd: number;
  /** What the unit calls it. */
  readonly name: string;
}

export interface ListenOptions {
  /** Takes a connection; `peer` says who is at its other end, as far as that is known. */
  readonly serve: (socket: Socket | TLSSocket, peer: string) => void;
  /** Who unix sockets belong to; null: who runs the daemon. */
  readonly owner: { readonly uid: number | null; readonly gid: number | null };
  readonly passed: readonly PassedSocket[];
}

export interface Listener {
  /** Where, with the port that was chosen. */
  readonly shown: string;
  /** Takes no more connections. */
  close(): void;
  /** Reads certificates again, for connections to come. Throws USAGE when they cannot be used, and keeps the old ones. */
  reload(): void;
}

/** Listens on an address, which may stand for several sockets. Throws USAGE. */
export async function listenOn(address: Address, options: ListenOptions): Promise<Listener[]> {
  switch (address.kind) {
    case "unix":
      return [await listenUnix(address.path, options)];
    case "tcp":
      return [await listenTcp(address, options)];
    case "fd":
      return await listenPassed(address, options);
  }
}

/** The sockets that the environment of a process names, which are for process `pid`. Throws USAGE. */
export function passedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): PassedSocket[] {
  const count = Number(env["LISTEN_FDS"] ?? 0);
  if (!Number.isSafeInteger(count) || count < 1 || (env["LISTEN_PID"] && Number(env["LISTEN_PID"]) !== pid))
    return [];
  const names = (env["LISTEN_FDNAMES"] ?? "").split(":");
  return Array.from({ length: Math.min(count, PASSED_MAX) }, (_, index) => ({
    fd: FIRST_PASSED + index,
    name: names[index] || "unknown",
  }));
}
const FIRST_PASSED = 3;
const PASSED_MAX = 100;

/** sockaddr_un, unix(7): 108 with the NUL. Node cuts off what is longer, and listens on something else. */
const SOCKET_PATH_MAX_BYTES = 107;

/** A socket that only this user may connect to, or a group as well. One left by a daemon that is gone is replaced. */
async function listenUnix(path: string, { serve, owner }: ListenOptions): Promise<Listener> {
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES)
    throw new BuildError(
      "USAGE",
      `cannot listen on ${path}: the path is longer than ${SOCKET_PATH_MAX_BYTES} bytes`,
      {
        hint: "give a shorter one with --addr",
      },
    );
  const directory = dirname(path);
  let isNew: boolean;
  let isThere: boolean;
  let isSocket: boolean;
  try {
    isNew = makeDirectories(directory, 0o700);
    isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    isSocket = statSync(path, { throwIfNoEntry: false })?.isSocket() === true;
  } catch (cause) {
    throw new BuildError("USAGE", `cannot listen on ${path}: ${wordsOf(cause)}`, {
      cause,
      hint: "give a socket in a directory of your own with --addr",
    });
  }
  if (isThere) {
    if (!isSocket)
      throw new BuildError("USAGE", `cannot listen on ${path}: it is there, and no socket`, {
        hint: "remove it, or give another path with --addr",
      });
    if (await answers(path))
      throw new BuildError("USAGE", `another daemon listens on ${path}`, {
        hint: "end it, or give another address with --addr",
      });
    rmSync(path);
  }
  // Closed until it belongs to whom it should.
  const before = process.umask(0o177);
  const server = createServer((socket) => serve(socket, "unix"));
  try {
    await listening(server, () => server.listen({ path }), path);
  } finally {
    process.umask(before);
  }
  const { uid, gid } = owner;
  try {
    if (gid !== null && isNew) give(directory, { uid: null, gid }, 0o710);
    give(path, owner, gid === null ? 0o600 : 0o660);
  } catch (cause) {
    server.close();
    throw new BuildError(
      "USAGE",
      `cannot give ${path} to ${uid ?? ""}:${gid ?? ""}: ${(cause as Error).message}`,
      {
        cause,
        hint: "an ordinary user can give it to own groups only",
      },
    );
  }
  return { shown: `unix://${path}`, close: () => server.close(), reload: () => {} };
}

function give(path: string, { uid, gid }: ListenOptions["owner"], mode: number): void {
  if (uid !== null || gid !== null) {
    const stat = statSync(path);
    chownSync(path, uid ?? stat.uid, gid ?? stat.gid);
  }
  chmodSync(path, mode);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function listenTcp(
  { host, port, tls }: Extract<Address, { kind: "tcp" }>,
  options: ListenOptions,
): Promise<Listener> {
  if (tls === null && !LOOPBACK.includes(host)) throw needsTls(`tcp://${host}:${port}`);
  const { server, reload } = serverFor(tls, options, "loopback");
  await listening(server, () => server.listen({ host, port }), `${host}:${port}`);
  return { shown: shownOf(server), close: () => server.close(), reload };
}

function needsTls(address: string): BuildError {
  return new BuildError("USAGE", `${address} needs TLS`, {
    hint: "give --tlscert, --tlskey and --tlscacert; without them only loopback addresses are served",
  });
}

async function listenPassed(
  { name, tls }: Extract<Address, { kind: "fd" }>,
  options: ListenOptions,
): Promise<Listener[]> {
  const found = options.passed.filter((one) => name === null || one.name === name || String(one.fd) === name);
  if (found.length === 0)
    throw new BuildError(
      "USAGE",
      name === null
        ? "no sockets were passed to tsbuildd"
        : `no socket called ${JSON.stringify(name)} was passed to tsbuildd`,
      { hint: "fd:// is for services with a socket unit of systemd, see examples/systemd" },
    );
  const listeners: Listener[] = [];
  try {
    for (const { fd, name: shownName } of found) {
      if (!fstatSync(fd, { bigint: false }).isSocket())
        throw new BuildError("USAGE", `descriptor ${fd} (${shownName}) is no socket`);
      // Whether it is one of the network is known when it is listened on.
      const { server: plain } = serverFor(null, options, "unix");
      await listening(plain, () => plain.listen({ fd }), `descriptor ${fd} (${shownName})`);
      listeners.push({
        shown: `fd://${shownName} (${shownOf(plain)})`,
        close: () => plain.close(),
        reload: () => {},
      });
      if (typeof plain.address() === "string" || plain.address() === null) continue;
      const { address } = plain.address() as AddressInfo;
      if (tls === null && LOOPBACK.includes(address)) continue;
      if (tls === null) throw needsTls(`fd://${shownName} on ${address}`);
      const secure = serverFor(tls, options, "");
      // The connections of the socket are handed on: a second server on one descriptor would close it twice.
      plain.removeAllListeners("connection");
      plain.on("connection", (socket) => secure.server.emit("connection", socket));
      listeners.push({ shown: "", close: () => {}, reload: secure.reload });
    }
  } catch (error) {
    for (const listener of listeners) listener.close();
    throw error;
  }
  return listeners;
}

function shownOf(server: Server): string {
  const at = server.address();
  if (typeof at !== "object" || at === null) return `unix://${at ?? ""}`;
  return `tcp://${at.family === "IPv6" ? `[${at.address}]` : at.address}:${at.port}`;
}

/** `peer`: who connects where there is no TLS. */
function serverFor(
  tls: TlsFiles | null,
  { serve }: ListenOptions,
  peer: string,
): { readonly server: Server; readonly reload: () => void } {
  if (tls === null) {
    const server = createServer((socket) => serve(socket, peer));
    return { server, reload: () => {} };
  }
  const server = createTlsServer(
    {
      ...readTls(tls),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ["h2"],
    },
    (socket) => serve(socket, `tls ${socket.getPeerCertificate().fingerprint256 ?? ""}`),
  );
  return { server, reload: () => server.setSecureContext(readTls(tls)) };
}

/** What the files hold. Throws USAGE for those that cannot be read, are something else, or do not belong together. */
function readTls(files: TlsFiles): TlsOptions {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new BuildError("USAGE", `cannot read ${file}: ${wordsOf(cause)}`, { cause });
    }
  };
  const [cert, key, ca] = [read(files.cert), read(files.key), read(files.ca)];
  const certificate = parsed(files.cert, "certificate", () => new X509Certificate(cert));
  parsed(files.ca, "certificate", () => new X509Certificate(ca));
  const own = parsed(files.key, "private key", () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(own))
    throw new BuildError("USAGE", `the key ${files.key} does not belong to the certificate ${files.cert}`);
  const options: TlsOptions = { cert, key, ca, minVersion: "TLSv1.2" };
  parsed(files.cert, "certificate that TLS takes", () => createSecureContext(options));
  return options;
}

function parsed<T>(file: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new BuildError("USAGE", `${file} is no ${what}`, {
      cause,
      hint: "PEM files are expected, without a password",
    });
  }
}

/** A system error in words. */
function wordsOf(cause: unknown): string {
  const { errno, message } = cause as NodeJS.ErrnoException;
  return getSystemErrorMap().get(errno ?? 0)?.[1] ?? message;
}

function listening(server: Server, listen: () => void, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      reject(new BuildError("USAGE", `cannot listen on ${where}: ${wordsOf(cause)}`, { cause }));
    });
    server.once("listening", resolve);
    listen();
  });
}
