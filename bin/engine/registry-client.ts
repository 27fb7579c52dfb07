// The registry client for the engine's settings: proxies, mirrors, certificate authorities.

import { closeSync } from "node:fs";
import { join } from "node:path";
import type { Transport, TransportOptions } from "../../cache/registry/transport.ts";
import { openDirectory, writeAll, writeWholeIn } from "../../cache/outside.ts";
import type { Credentials, Session } from "../../solver/graph/session.ts";
import type { EngineConfig, Environment } from "./config.ts";
import type { Elsewhere, Registry } from "../../cache/registry/contract.ts";

export interface RegistryClientOptions {
  readonly credentials: (host: string) => Promise<Credentials | null>;
  /** Of a client that fetches tokens by itself. */
  readonly tokens?: NonNullable<Session["token"]>;
  readonly elsewhere?: Elsewhere;
}

/** Opens a client; the caller closes it. */
export async function openRegistryClient(
  config: EngineConfig,
  options: RegistryClientOptions,
): Promise<Registry> {
  const [{ openRegistry }, { proxyFromEnvironment }, { environmentAuthorities }, { openPlaces }] =
    await Promise.all([
      import("../../cache/registry/client.ts"),
      import("../../cache/registry/proxy.ts"),
      import("../../cache/registry/certificates.ts"),
      import("../../cache/registry/places.ts"),
    ]);
  const { env, registries } = config;
  const authorities = environmentAuthorities(env);
  const { placesOf, certificates } = openPlaces({
    conf: registries.conf,
    hostDirs: registries.hostDirs,
    mirrors: registries.mirrors,
    ...(registries.hosts === undefined ? {} : { hosts: registries.hosts }),
    authorities,
    notice: config.notice,
  });
  return openRegistry({
    ...options,
    proxyFor: proxyFromEnvironment(env),
    insecureHosts: registries.insecure,
    placesOf,
    certificates,
    authorities,
  });
}

/** The transport of downloads by URL. The caller disposes it. */
export async function openUserTransport(env: Environment): Promise<Transport> {
  const [{ openTransport }, options] = await Promise.all([
    import("../../cache/registry/transport.ts"),
    transportOptions(env),
  ]);
  return openTransport(options);
}

/** The same proxies and authorities for git, as variables of its environment (git(1), http.sslCAInfo). `dir`: for a file with the
 *  authorities. */
export async function gitVariables(env: Environment, dir: string): Promise<Readonly<Record<string, string>>> {
  const [{ proxyVariables }, { environmentAuthorities }] = await Promise.all([
    import("../../cache/registry/proxy.ts"),
    import("../../cache/registry/certificates.ts"),
  ]);
  const proxies = proxyVariables(env);
  const authorities = await environmentAuthorities(env)(false);
  if (authorities === null) return proxies;
  const directory = openDirectory(dir);
  try {
    await writeWholeIn(directory, AUTHORITIES_FILE, (fd) =>
      writeAll(fd, Buffer.from(authorities.join("\n"))),
    );
  } finally {
    closeSync(directory);
  }
  return { ...proxies, GIT_SSL_CAINFO: join(dir, AUTHORITIES_FILE) };
}

const AUTHORITIES_FILE = "git-authorities.pem";

/** Proxies and authorities for all hosts. */
export async function transportOptions(env: Environment): Promise<TransportOptions> {
  const [{ proxyFromEnvironment }, { environmentAuthorities }] = await Promise.all([
    import("../../cache/registry/proxy.ts"),
    import("../../cache/registry/certificates.ts"),
  ]);
  const authorities = environmentAuthorities(env);
  return {
    proxyFor: proxyFromEnvironment(env),
    certificates: async () => ({ ca: await authorities(false), clients: [] }),
  };
}
