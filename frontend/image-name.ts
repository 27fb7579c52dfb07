// Image names in FROM: "alpine" is docker.io/library/alpine:latest. Grammar and defaults:
// distribution/reference, which Docker and BuildKit use.

import { BuildError } from "../solver/graph/error.ts";

/** A name with its domain and, under docker.io, its "library/". */
export interface ImageName {
  readonly domain: string;
  readonly path: string;
  readonly tag: string | null;
  readonly digest: string | null;
}

const DEFAULT_DOMAIN = "docker.io";
const NAME_MAX_LENGTH = 255;
const DOMAIN =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;

/** Reads a name. Throws REFERENCE_INVALID. */
export function parseImageName(text: string): ImageName {
  if (/^[a-f0-9]{64}$/.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const at = text.indexOf("@");
  const digest = at < 0 ? null : text.slice(at + 1);
  const named = at < 0 ? text : text.slice(0, at);
  const { domain, rest } = splitDomain(named);
  const colon = rest.indexOf(":");
  const tag = colon < 0 ? null : rest.slice(colon + 1);
  const path = colon < 0 ? rest : rest.slice(0, colon);
  if (path !== path.toLowerCase()) {
    throw invalid(`invalid reference format: repository name (${path}) must be lowercase`);
  }
  const isValid =
    DOMAIN.test(domain) &&
    path.split("/").every((component) => COMPONENT.test(component)) &&
    (tag === null || TAG.test(tag)) &&
    (digest === null || DIGEST.test(digest));
  if (!isValid) throw invalid("invalid reference format");
  if (`${domain}/${path}`.length > NAME_MAX_LENGTH) {
    throw invalid(`repository name must not be more than ${NAME_MAX_LENGTH} characters`);
  }
  return { domain, path, tag, digest };
}

function splitDomain(text: string): { domain: string; rest: string } {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  const domain = slash >= 0 && isDomain ? first : DEFAULT_DOMAIN;
  const rest = slash >= 0 && isDomain ? text.slice(slash + 1) : text;
  if (domain === "index.docker.io") return splitDomain(`${DEFAULT_DOMAIN}/${rest}`);
  return { domain, rest: domain === DEFAULT_DOMAIN && !rest.includes("/") ? `library/${rest}` : rest };
}

/** domain/path[:tag][@digest]; without tag and digest ":latest" is added. */
export function formatImageName(name: ImageName): string {
  const { domain, path, tag, digest } = name;
  const shown = tag ?? (digest === null ? "latest" : null);
  return `${domain}/${path}${shown === null ? "" : `:${shown}`}${digest === null ? "" : `@${digest}`}`;
}

/** The short form people write, as --build-context has its names: no docker.io/library, no ":latest". */
export function familiarImageName({ domain, path, tag, digest }: ImageName): string {
  const short = domain !== DEFAULT_DOMAIN ? `${domain}/${path}` : path.replace(/^library\/(?=[^/]+$)/, "");
  const end = `${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;
  return `${short}${end}`.replace(/:latest$/, "");
}

function invalid(message: string): BuildError {
  return new BuildError("REFERENCE_INVALID", message);
}
