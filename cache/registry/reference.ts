// Image references: text to host, repository, tag and digest, in the grammar of distribution/reference.

import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";

/** A repository of a registry. */
export interface Repository {
  /** As users write it: docker.io, ghcr.io, localhost:5000, [::1]:5000. */
  readonly host: string;
  /** library/alpine */
  readonly repository: string;
  /** Registry without a checked certificate, or without TLS (`registry.insecure=true`). */
  readonly insecure?: boolean;
  /** What the API begins with in place of /v2 (hosts.toml, override_path). */
  readonly apiRoot?: string;
  /** How its host is spoken to (hosts.toml). */
  readonly manner?: Manner;
  /** What the user wrote, for messages about any part of it: of a push or a build cache, whose blobs have no name of their own. */
  readonly askedAs?: string;
}

/** What one host gets, and no other: not where it redirects to, nor a token service elsewhere. */
export interface Manner {
  /** Authorities and client certificates beside those of all hosts and of its directory; read when first needed. */
  readonly tls?: () => Promise<HostTls>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly dialTimeoutMs?: number;
  readonly proxy?: URL;
  /** The registry whose repositories a mirror has: the parameter `ns` of requests. containerd: docs/hosts.md. */
  readonly namespace?: string;
}

/** Certificates in PEM. */
export interface HostTls {
  readonly ca: readonly string[];
  readonly clients: readonly ClientCertificate[];
}
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
  /** Of the key: rsa, ec, ed25519 … */
  readonly kind: string;
}

export interface Reference extends Repository {
  readonly tag: string | null;
  readonly digest: Digest | null;
}

const REFERENCE_MAX_CHARS = 4096;
const REPOSITORY_MAX_CHARS = 255; // distribution/reference, RepositoryNameTotalLengthMax
const HUB = "docker.io";
const HUB_ALIAS = "index.docker.io";
const HUB_API = "registry-1.docker.io";

// distribution/reference regexp.go. No part of these can match one text in two ways, so they run in linear time.
const LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;

/**
 * Parses a reference as a user writes it: short names are of Docker Hub ("alpine" is docker.io/library/alpine).
 * Neither tag nor digest is made up; see `withDefaultTag`. Throws REFERENCE_INVALID in the words of distribution/reference.
 */
export function parseReference(text: string): Reference {
  if (text.length > REFERENCE_MAX_CHARS || text === "") throw invalid(text, "invalid reference format");
  if (/^[a-f0-9]{64}$/.test(text)) {
    throw invalid(text, `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const { host, rest } = splitHost(text);
  const colon = rest.indexOf(":");
  const lowerPart = colon < 0 ? rest : rest.slice(0, colon);
  if (lowerPart.toLowerCase() !== lowerPart) {
    throw invalid(
      text,
      `invalid reference format: repository name (${printable(lowerPart)}) must be lowercase`,
    );
  }

  const at = rest.indexOf("@");
  const digestText = at < 0 ? null : rest.slice(at + 1);
  const named = at < 0 ? rest : rest.slice(0, at);
  const tagAt = named.indexOf(":");
  const tag = tagAt < 0 ? null : named.slice(tagAt + 1);
  const path = tagAt < 0 ? named : named.slice(0, tagAt);

  if (!DOMAIN.test(host)) throw invalid(text, "invalid reference format");
  if (!path.split("/").every((component) => COMPONENT.test(component))) {
    throw invalid(text, "invalid reference format");
  }
  if (path.length > REPOSITORY_MAX_CHARS) {
    throw invalid(text, `repository name must not be more than ${REPOSITORY_MAX_CHARS} characters`);
  }
  if (tag !== null && !TAG.test(tag)) throw invalid(text, "invalid reference format");
  if (digestText !== null && !isDigest(digestText)) {
    const shaped = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-fA-F0-9]{32,}$/.test(digestText);
    throw invalid(text, shaped ? "unsupported digest algorithm" : "invalid reference format");
  }
  const repository = host === HUB && !path.includes("/") ? `library/${path}` : path;
  return { host, repository, tag, digest: digestText as Digest | null };
}

/** A name that is to be given to an image of this machine; without a tag it gets "latest". A digest is not given but confirmed by a registry, and
 *  "sha256" as a name would make its tags look like IDs: docker refuses both in these words. Throws REFERENCE_INVALID. */
export function parseNewName(text: string): Reference {
  const reference = parseReference(text);
  if (reference.digest !== null)
    throw new BuildError("REFERENCE_INVALID", `${text}: refusing to create a tag with a digest reference`);
  if (reference.host === HUB && reference.repository === "library/sha256")
    throw new BuildError(
      "REFERENCE_INVALID",
      `${text}: refusing to create an ambiguous tag using digest algorithm as name`,
    );
  return withDefaultTag(reference);
}

// The first component is a host when it cannot be a path component of a Hub repository: it has a dot, a port or
// upper case, or is "localhost". distribution/reference normalize.go, splitDockerDomain.
function splitHost(text: string): { readonly host: string; readonly rest: string } {
  const slash = text.indexOf("/");
  if (slash < 0) return { host: HUB, rest: text };
  const first = text.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first;
  if (!isHost) return { host: HUB, rest: text };
  return { host: first === HUB_ALIAS ? HUB : first, rest: text.slice(slash + 1) };
}

function invalid(text: string, problem: string): BuildError {
  return new BuildError(
    "REFERENCE_INVALID",
    `failed to parse image reference ${JSON.stringify(printable(text, 200))}: ${problem}`,
  );
}

/** The same reference with tag "latest" where it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === null && reference.digest === null ? { ...reference, tag: "latest" } : reference;
}

/** Full text: docker.io/library/alpine:3.20@sha256:… */
export function formatReference(reference: Reference): string {
  return `${formatRepository(reference)}${suffix(reference)}`;
}

/** Is what `RemoteBlob.from` says a repository? Else it is a directory, or an address in an object store. */
export function isRepository(from: string): boolean {
  return !from.startsWith("oci-layout:") && !from.includes("://");
}

/** "docker.io/library/alpine": what `RemoteBlob.from` holds for a registry. */
export function formatRepository(repository: Repository): string {
  return `${repository.host}/${repository.repository}`;
}

/** What messages call it. */
export function shownRepository(repository: Repository): string {
  return repository.askedAs ?? formatRepository(repository);
}

/** Short text as `docker images` prints it: alpine:3.20, user/app, ghcr.io/o/app. */
export function familiarReference(reference: Reference): string {
  const { host, repository } = reference;
  const library = /^library\/([^/]+)$/.exec(repository);
  const name = host !== HUB ? `${host}/${repository}` : (library?.[1] ?? repository);
  return `${name}${suffix(reference)}`;
}

function suffix(reference: Reference): string {
  return `${reference.tag === null ? "" : `:${reference.tag}`}${reference.digest === null ? "" : `@${reference.digest}`}`;
}

/** Is the registry on this machine, so that plain http is meant? localhost, 127.0.0.0/8 and [::1], with any port. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:[0-9]+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** Host that speaks the distribution API: Docker Hub's is registry-1.docker.io. */
export function apiHost(host: string): string {
  return host === HUB ? HUB_API : host;
}

/** One spelling for a registry that several lead to: host names know no case (RFC 4343), 443 is what no port means, and Docker Hub has three
 *  names. For comparing with rules, not for asking. */
export function canonicalHost(host: string): string {
  const name = host.toLowerCase().replace(/:443$/, "");
  return name === HUB_ALIAS || name === HUB_API ? HUB : name;
}

/** Names a host's folder may have; a colon cannot be in every file system's names. containerd: docs/hosts.md, "Port Handling". */
export function hostFolders(host: string): readonly string[] {
  return [...new Set([host.replace(/:(\d+)$/, "_$1_"), host])];
}
