// Checks signatures of an image, and of statements about it. Nothing of what is signed is believed before its signature holds.

import type { KeyObject } from "node:crypto";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { hexOf } from "../../solver/graph/digest.ts";
import { IN_TOTO_TYPE } from "../attestation/statement.ts";
import { DSSE_MAX_BYTES, isEnvelopeSignedBy, parseEnvelope } from "./dsse.ts";
import { isSignedBy } from "./keys.ts";
import { type Beside, bundlesAbout, type FoundLayer, layersAbout, SIGNATURE } from "./manifest.ts";
import { type Payload, parsePayload, PAYLOAD_MAX_BYTES } from "./payload.ts";
import type { SignaturePlace } from "./place.ts";
import { SIGNATURES, SIGNED_STATEMENTS } from "./sign.ts";

/** Statements of one image that are read; each may be large. */
const ENVELOPES_MAX = 64;

/** Exit codes of `cosign verify` (cmd/cosign/errors/exit_codes.go). */
export const EXIT_CODES = { unsigned: 10, unknownTag: 11, unmatched: 12 } as const;

/** Type of the statement that is the signature of an image for cosign 3. */
export const SIGN_TYPE = "https://sigstore.dev/cosign/sign/v1";

export interface SignatureChecks {
  /** One of them has made the signature. */
  readonly keys: readonly KeyObject[];
  /** What has to be in the signed annotations. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Why the signed name will not do; null: it will. */
  readonly identity: (signed: string) => string | null;
}

export interface Found<T> {
  readonly verified: readonly T[];
  /** Why each of the others was not: one sentence. */
  readonly rejected: readonly string[];
  /** Of these, what is no signature at all, and should not be there. */
  readonly broken: readonly string[];
}

/** Signatures of a digest that pass all checks. Throws LIMIT_EXCEEDED, and what the place throws. */
export async function verifiedSignatures(
  place: SignaturePlace,
  digest: Digest,
  checks: SignatureChecks,
): Promise<Found<Payload>> {
  return await sorted(await layersAbout(place, digest, SIGNATURES), async ({ descriptor, shown }) => {
    const text = descriptor.annotations?.[SIGNATURE];
    if (text === undefined) throw failure(`${shown}: it has no signature`);
    const bytes = await place.blob(descriptor, PAYLOAD_MAX_BYTES);
    const signature = Buffer.from(text, "base64");
    if (!checks.keys.some((key) => isSignedBy(key, bytes, signature)))
      throw failure(`${shown}: it is not signed by ${keysIn(checks)}`);
    const payload = parsePayload(bytes, shown);
    if (payload.digest !== digest)
      throw failure(`${shown}: it is the signature of another image, ${payload.digest}`);
    const problem = checks.identity(payload.identity) ?? missing(payload, checks.annotations);
    if (problem !== null) throw failure(`${shown}: ${problem}`);
    return payload;
  });
}

/** A signed statement. */
export interface SignedStatement {
  readonly predicateType: string;
  /** The envelope as it is. */
  readonly envelope: Uint8Array;
}

/** Statements of a type (null: any) about a digest that are signed by one of the keys. Throws as verifiedSignatures. */
export async function verifiedStatements(
  place: SignaturePlace,
  digest: Digest,
  keys: readonly KeyObject[],
  type: string | null,
): Promise<Found<SignedStatement>> {
  const { layers, broken } = await layersAbout(place, digest, SIGNED_STATEMENTS);
  const bundles = await bundlesAbout(place, digest);
  const all = [...layers, ...bundles];
  if (all.length > ENVELOPES_MAX)
    throw new BuildError(
      "LIMIT_EXCEEDED",
      `${place.shown}: more than ${ENVELOPES_MAX} signed attestations of one image`,
    );
  return await sorted({ layers: all, broken }, async (layer) => {
    const { descriptor, shown } = layer;
    const blob = await place.blob(descriptor, DSSE_MAX_BYTES);
    const bytes = bundles.includes(layer) ? envelopeIn(blob, shown) : blob;
    const envelope = parseEnvelope(bytes, shown);
    if (!keys.some((key) => isEnvelopeSignedBy(key, envelope)))
      throw failure(`${shown}: it is not signed by ${keysIn({ keys })}`);
    if (envelope.payloadType !== IN_TOTO_TYPE)
      throw failure(
        `${shown}: what is signed is ${printable(envelope.payloadType, 80)}, and no in-toto statement`,
      );
    const { predicateType, subjects } = statementIn(envelope.payload, shown);
    if (!subjects.includes(hexOf(digest))) throw failure(`${shown}: the statement is about another image`);
    if (type !== null && predicateType !== type)
      throw failure(`${shown}: the statement is of type ${printable(predicateType, 100)}`);
    return { predicateType, envelope: bytes };
  });
}

/** Bundles beside an image that `verify` takes, with statements of a type. Throws as verifiedSignatures. */
export async function verifiedBundles<T extends { readonly predicateType: string }>(
  place: SignaturePlace,
  digest: Digest,
  type: string,
  verify: (bundle: { readonly text: string; readonly name: string }, image: Digest) => Promise<T>,
): Promise<Found<T>> {
  const bundles = await bundlesAbout(place, digest);
  if (bundles.length > ENVELOPES_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `${place.shown}: more than ${ENVELOPES_MAX} bundles of one image`);
  return await sorted({ layers: bundles, broken: [] }, async ({ descriptor, shown }) => {
    const text = Buffer.from(await place.blob(descriptor, DSSE_MAX_BYTES)).toString("utf8");
    const verified = await verify({ text, name: shown }, digest);
    if (verified.predicateType !== type)
      throw failure(`${shown}: the statement is of type ${printable(verified.predicateType, 100)}`);
    return verified;
  });
}

/** The envelope in a bundle; of a key nothing else in it is needed. Throws SIGNATURE_INVALID. */
function envelopeIn(bundle: Uint8Array, shown: string): Uint8Array {
  let json: { readonly dsseEnvelope?: unknown } | null;
  try {
    json = JSON.parse(Buffer.from(bundle).toString("utf8")) as typeof json;
  } catch (cause) {
    throw new BuildError("SIGNATURE_INVALID", `${shown}: the bundle is not JSON`, { cause });
  }
  if (json?.dsseEnvelope === undefined) throw failure(`${shown}: the bundle has no signed statement`);
  return Buffer.from(JSON.stringify(json.dsseEnvelope));
}

/** Type and subjects (SHA-256 in hexadecimal) of a statement. Throws SIGNATURE_INVALID. */
export function statementIn(
  payload: Uint8Array,
  shown: string,
): { readonly predicateType: string; readonly subjects: readonly string[] } {
  let json: { readonly predicateType?: unknown; readonly subject?: unknown };
  try {
    json = JSON.parse(Buffer.from(payload).toString("utf8")) as typeof json;
  } catch (cause) {
    throw new BuildError("SIGNATURE_INVALID", `${shown}: the statement is not JSON`, { cause });
  }
  const { predicateType, subject } = json ?? {};
  if (typeof predicateType !== "string" || !Array.isArray(subject))
    throw failure(`${shown}: what is signed is no in-toto statement`);
  const subjects = subject.flatMap((one: { readonly digest?: { readonly sha256?: unknown } } | null) =>
    typeof one?.digest?.sha256 === "string" ? [one.digest.sha256] : [],
  );
  return { predicateType, subjects };
}

/** What none of the signatures had, as one error. `what`: "signatures". */
export function noneVerified(
  shown: string,
  what: string,
  rejected: readonly string[],
  hint: string | null = null,
): BuildError {
  if (rejected.length === 0)
    return new BuildError("SIGNATURE_INVALID", `${shown}: no ${what} found`, {
      exitCode: EXIT_CODES.unsigned,
    });
  const [first = ""] = rejected;
  const more = rejected.length > 1 ? ` (and ${rejected.length - 1} more)` : "";
  return new BuildError("SIGNATURE_INVALID", `${shown}: no matching ${what}: ${first}${more}`, {
    hint,
    exitCode: EXIT_CODES.unmatched,
  });
}

/** A broken or missing one says nothing about the others. That a registry cannot be reached is another matter. */
const OF_ONE: readonly BuildError["code"][] = [
  "SIGNATURE_INVALID",
  "LIMIT_EXCEEDED",
  "DIGEST_MISMATCH",
  "FILE_INVALID",
  "REGISTRY_NOT_FOUND",
  "IMAGE_UNKNOWN",
];

async function sorted<T>(
  { layers, broken }: Beside,
  check: (one: FoundLayer) => Promise<T>,
): Promise<Found<T>> {
  const verified: T[] = [];
  const rejected = [...broken];
  for (const one of layers) {
    try {
      verified.push(await check(one));
    } catch (error) {
      if (!(error instanceof BuildError) || !OF_ONE.includes(error.code)) throw error;
      rejected.push(error.message);
    }
  }
  return { verified, rejected, broken };
}

function missing(payload: Payload, wanted: Readonly<Record<string, string>>): string | null {
  for (const [key, value] of Object.entries(wanted)) {
    const found = Object.hasOwn(payload.annotations, key) ? payload.annotations[key] : undefined;
    if (found !== value)
      return `its annotation ${JSON.stringify(key)} is ${found === undefined ? "missing" : printable(JSON.stringify(found) ?? "", 60)}, not ${JSON.stringify(value)}`;
  }
  return null;
}

function keysIn({ keys }: Pick<SignatureChecks, "keys">): string {
  return keys.length === 1 ? "the key" : "any of the keys";
}

function failure(message: string): BuildError {
  return new BuildError("SIGNATURE_INVALID", message);
}
