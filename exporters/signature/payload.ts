// What is signed of an image: its digest and the name it goes by. containers/image docs/signature-protocols.md, "Simple signing";
// sigstore/cosign specs/SIGNATURE_SPEC.md.

import { isDigest, type Digest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { formatRepository, type Repository } from "../../cache/registry/reference.ts";
import { encodeGoJson, sortedMap } from "../go-json.ts";

export const PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
/** They have a few hundred bytes. */
export const PAYLOAD_MAX_BYTES: number = 256 << 10;
const CLAIM = "cosign container image signature";

export interface Payload {
  /** As it was written: a repository, with or without tag or digest. */
  readonly identity: string;
  readonly digest: Digest;
  readonly annotations: Readonly<Record<string, unknown>>;
  /** As JSON.parse gave it. */
  readonly json: Readonly<Record<string, unknown>>;
}

/** The bytes that are signed. The same arguments give the same bytes as cosign's. */
export function payloadOf(
  identity: string,
  digest: Digest,
  annotations: Readonly<Record<string, string>>,
): Uint8Array {
  return encodeGoJson({
    critical: {
      identity: { "docker-reference": identity },
      image: { "docker-manifest-digest": digest },
      type: CLAIM,
    },
    optional: sortedMap(annotations) ?? null,
  });
}

/** Reads a payload whose signature holds. Throws SIGNATURE_INVALID with what is wrong; `name` is for messages. */
export function parsePayload(bytes: Uint8Array, name: string): Payload {
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new BuildError("SIGNATURE_INVALID", `${name}: what is signed is not JSON`, { cause });
  }
  const field = (of: unknown, key: string): unknown =>
    typeof of === "object" && of !== null && Object.hasOwn(of, key)
      ? (of as Record<string, unknown>)[key]
      : undefined;
  const critical = field(json, "critical");
  const type = field(critical, "type");
  if (type !== CLAIM)
    throw new BuildError(
      "SIGNATURE_INVALID",
      `${name}: what is signed is of type ${printable(JSON.stringify(type) ?? "none", 80)}, not ${JSON.stringify(CLAIM)}`,
    );
  const digest = field(field(critical, "image"), "docker-manifest-digest");
  const identity = field(field(critical, "identity"), "docker-reference");
  if (typeof digest !== "string" || !isDigest(digest) || typeof identity !== "string")
    throw new BuildError("SIGNATURE_INVALID", `${name}: what is signed names no image`);
  const optional = field(json, "optional");
  const annotations = typeof optional === "object" && optional !== null ? { ...optional } : {};
  return { identity, digest, annotations, json };
}

/** How cosign writes a repository into what it signs: Docker Hub by its older name (go-containerregistry). */
export function identityOf(repository: Repository): string {
  const name = formatRepository(repository);
  return repository.host === "docker.io" ? `index.${name}` : name;
}
