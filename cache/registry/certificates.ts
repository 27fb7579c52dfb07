// Certificate authorities: of the machine from SSL_CERT_FILE and SSL_CERT_DIR, and of single registries where docker, podman and
// containerd keep them: DIR/HOST[:PORT]/*.crt. In the same directories client certificates: NAME.cert with NAME.key.
// https://docs.docker.com/engine/security/certificates/, containers-certs.d(5), SSL_CTX_set_default_verify_paths(3)

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BuildError } from "../../solver/graph/error.ts";
import { readFileOf } from "../outside.ts";
import { type ClientCertificate, hostFolders, type HostTls } from "./reference.ts";

/** Debian's file of all authorities has 0.2 MB. */
const FILE_MAX_BYTES = 4 << 20;

/** The authorities for all hosts as a list; null: they are Node's own. `always`: those as a list then, too. */
export type Authorities = (always: boolean) => Promise<readonly string[] | null>;

/**
 * The authorities of SSL_CERT_FILE and SSL_CERT_DIR, which stand in place of Node's own, as with OpenSSL, curl and Go; those of
 * NODE_EXTRA_CA_CERTS come to either. They throw REGISTRY_UNREACHABLE when a file cannot be read.
 */
export function environmentAuthorities(env: Readonly<Record<string, string | undefined>>): Authorities {
  let found: readonly string[] | null = null;
  const file = env["SSL_CERT_FILE"] ?? "";
  const directories = (env["SSL_CERT_DIR"] ?? "").split(":").filter((path) => path !== "");
  const extra = env["NODE_EXTRA_CA_CERTS"] ?? "";
  const isSet = file !== "" || directories.length > 0;
  return async (always) => {
    if (!isSet && !always) return null;
    found ??= [
      ...(isSet ? [] : await nodesOwn()),
      ...(file === "" ? [] : [readPem(file)]),
      ...directories.flatMap((directory) =>
        readDirectory(directory, (name) => /\.(?:crt|pem|0)$/.test(name)),
      ),
      ...(extra === "" ? [] : [readPem(extra)]),
    ];
    return found;
  };
}

/** node:tls takes 3 ms, and hosts with authorities of their own are rare. */
async function nodesOwn(): Promise<readonly string[]> {
  return (await import("node:tls")).rootCertificates;
}

/** Where a certificate of this client and its key are, absolute; they may be one file. */
export interface ClientFiles {
  readonly cert: string;
  readonly key: string;
}

/** How one host is spoken to, as a configuration says. Paths are absolute. */
export interface HostTrust {
  /** Without TLS. */
  readonly http: boolean;
  /** With a certificate nobody vouches for, or without TLS. */
  readonly insecure: boolean;
  /** Files of certificate authorities. */
  readonly ca: readonly string[];
  readonly clients: readonly ClientFiles[];
  /** Directories with *.crt, and NAME.cert with NAME.key. */
  readonly directories: readonly string[];
}

/** The certificates of a configuration, read. Throws REGISTRY_UNREACHABLE. */
export async function readTrust({ ca, clients, directories }: HostTrust): Promise<HostTls> {
  const pairs = [...clients, ...directories.flatMap(clientsIn)];
  return {
    ca: [...ca.map(readPem), ...directories.flatMap((one) => readDirectory(one, isAuthority))],
    clients: await Promise.all(pairs.map(readClient)),
  };
}

const isAuthority = (name: string): boolean => name.endsWith(".crt");

/** What is known of a host for TLS. */
export interface HostCertificates {
  /** All authorities, in PEM; null: Node's own list. */
  readonly ca: readonly string[] | null;
  /** Offered to this host alone. */
  readonly clients: readonly ClientCertificate[];
}

/**
 * Returns what `TransportOptions.certificates` wants: the authorities for all hosts and those of a host in any of the directories
 * (absolute: /etc/docker/certs.d, /etc/containers/certs.d …), and the certificates for it there. It throws REGISTRY_UNREACHABLE
 * when a file cannot be read, or a certificate has no key: without it the connection would fail for a reason that is harder to see.
 */
export function hostCertificates(
  directories: readonly string[],
  authorities: Authorities = async (always) => (always ? await nodesOwn() : null),
): (host: string) => Promise<HostCertificates> {
  return async (host) => {
    const names = host === HUB_API ? [host, "docker.io"] : hostFolders(host);
    const folders = directories.flatMap((directory) => names.map((name) => join(directory, name)));
    const own = folders.flatMap((folder) => readDirectory(folder, isAuthority));
    const clients = await Promise.all(folders.flatMap(clientsIn).map(readClient));
    if (own.length === 0) return { ca: await authorities(false), clients };
    return { ca: [...((await authorities(true)) ?? []), ...own], clients };
  };
}

const HUB_API = "registry-1.docker.io";

/** NAME.cert with NAME.key. Either alone is an error, as for docker. */
function clientsIn(folder: string): readonly ClientFiles[] {
  const names = namesIn(folder);
  const other = (name: string): string =>
    name.replace(/cert$|key$/, (end) => (end === "key" ? "cert" : "key"));
  for (const name of names) {
    if (/\.(?:cert|key)$/.test(name) && !names.includes(other(name))) {
      throw new BuildError(
        "REGISTRY_UNREACHABLE",
        name.endsWith(".key")
          ? `missing client certificate ${other(name)} for key ${join(folder, name)}`
          : `missing key ${other(name)} for client certificate ${join(folder, name)}`,
        { hint: "a client certificate is NAME.cert with NAME.key; certificate authorities end with .crt" },
      );
    }
  }
  return names
    .filter((name) => name.endsWith(".cert"))
    .map((name) => ({ cert: join(folder, name), key: join(folder, other(name)) }));
}

function readDirectory(directory: string, isWanted: (name: string) => boolean): readonly string[] {
  return namesIn(directory)
    .filter(isWanted)
    .map((name) => readPem(join(directory, name)));
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Root's directories are often closed to others; nothing in them is meant for them then.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "EACCES") return [];
    throw error;
  }
}

/** Certificates of a file. Throws REGISTRY_UNREACHABLE. */
export function readPem(path: string): string {
  return readPart(path, "certificate authority", /-----BEGIN CERTIFICATE-----/);
}

/** Throws REGISTRY_UNREACHABLE, also when they do not belong together. */
export async function readClient(files: ClientFiles): Promise<ClientCertificate> {
  const cert = readPart(files.cert, "client certificate", /-----BEGIN CERTIFICATE-----/);
  const key = readPart(files.key, "client key", /-----BEGIN [A-Z ]*PRIVATE KEY-----/);
  const [{ createSecureContext }, { createPrivateKey }] = await Promise.all([
    import("node:tls"),
    import("node:crypto"),
  ]);
  try {
    createSecureContext({ cert, key });
    return { cert, key, kind: createPrivateKey(key).asymmetricKeyType ?? "" };
  } catch (cause) {
    // OpenSSL: "error:05800074:x509 certificate routines::key values mismatch"
    const words = (cause as Error).message.replace(/^error:.*::?/, "");
    throw new BuildError(
      "REGISTRY_UNREACHABLE",
      `cannot use the client certificate ${files.cert} with the key ${files.key}: ${words}`,
      { cause, hint: "the key must have no passphrase and belong to the first certificate of the file" },
    );
  }
}

function readPart(path: string, what: string, begin: RegExp): string {
  try {
    const text = readFileOf(path, FILE_MAX_BYTES).toString("latin1");
    if (!begin.test(text)) throw new Error("it is not in PEM format");
    return text;
  } catch (cause) {
    throw new BuildError(
      "REGISTRY_UNREACHABLE",
      `cannot use the ${what} ${path}: ${(cause as Error).message}`,
      { cause, hint: "repair or remove the file" },
    );
  }
}
