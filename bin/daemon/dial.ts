// A connection to a daemon, for clients on its machine.

import { existsSync, readFileSync } from "node:fs";
import { connect, isIP, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ConnectionOptions } from "node:tls";
import { BuildError } from "../../solver/graph/error.ts";
import type { Address, TlsFiles } from "./address.ts";

interface DialOptions {
  /** Name in the daemon's certificate; null: the host of the address. */
  readonly servername: string | null;
  readonly timeoutMs: number;
  /** Tries again until the time is over. */
  readonly isPatient: boolean;
}

type GivenFiles = { readonly [Name in keyof TlsFiles]: string | null };

/** Files that are given, and for the others those of a directory, under the names that buildctl and Kubernetes have for them. */
export function tlsFilesIn(directory: string | null, given: GivenFiles): GivenFiles {
  if (directory === null) return given;
  const find = (...names: readonly string[]): string | null =>
    names.map((name) => join(directory, name)).find((path) => existsSync(path)) ?? null;
  return {
    ca: given.ca ?? find("ca.pem", "ca.crt"),
    cert: given.cert ?? find("cert.pem", "tls.crt"),
    key: given.key ?? find("key.pem", "tls.key"),
  };
}

/** Throws USAGE, WORKER_UNREACHABLE. The socket may be ended in one direction. */
export async function dial(address: Address, options: DialOptions): Promise<Socket> {
  if (address.kind === "fd") throw new BuildError("USAGE", "fd:// is an address to listen on");
  const until = performance.now() + options.timeoutMs;
  for (;;) {
    try {
      return await dialOnce(address, options);
    } catch (error) {
      if (!options.isPatient || performance.now() > until) throw error;
      await delay(50);
    }
  }
}

async function dialOnce(
  address: Exclude<Address, { kind: "fd" }>,
  { servername, timeoutMs }: DialOptions,
): Promise<Socket> {
  const shown = address.kind === "unix" ? `unix://${address.path}` : `tcp://${address.host}:${address.port}`;
  const socket = await begin(address, servername);
  return await new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      socket.destroy();
      const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
      reject(
        new BuildError("WORKER_UNREACHABLE", `no daemon answers at ${shown}: ${cause.message}`, {
          cause,
          hint: isMissing ? "start tsbuildd, or name its address with --addr or BUILDKIT_HOST" : null,
        }),
      );
    };
    socket.setTimeout(timeoutMs, () => fail(new Error("it takes too long")));
    socket.once("error", fail);
    socket.once(address.kind === "tcp" && address.tls !== null ? "secureConnect" : "connect", () => {
      socket.setTimeout(0);
      socket.removeListener("error", fail);
      resolve(socket);
    });
  });
}

async function begin(address: Exclude<Address, { kind: "fd" }>, servername: string | null): Promise<Socket> {
  if (address.kind === "unix") return connect({ path: address.path, allowHalfOpen: true });
  const { host, port, tls } = address;
  if (tls === null) return connect({ host, port, allowHalfOpen: true });
  const { connect: connectTls } = await import("node:tls");
  // TLS checks the certificate against the name; an address is checked as an address.
  const name = servername ?? host;
  const options: ConnectionOptions = {
    ...{ host, port, allowHalfOpen: true, ALPNProtocols: ["h2"], minVersion: "TLSv1.2" },
    ...{ ca: readFileSync(tls.ca), cert: readFileSync(tls.cert), key: readFileSync(tls.key) },
    ...(isIP(name) === 0 ? { servername: name } : {}),
  };
  return connectTls(options);
}
