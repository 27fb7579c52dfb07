// Signs an image where it is: its digest, and the statements about it.

import { type Manifest, parseDocument } from "../../cache/registry/documents.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { attestedBy, IN_TOTO_TYPE, PREDICATE_TYPE, STATEMENT_MAX_BYTES } from "../attestation/statement.ts";
import type { Document } from "../image.ts";
import { documentOf } from "../referrers.ts";
import { DSSE_MAX_BYTES, DSSE_TYPE, envelopeOf, isEnvelopeSignedBy, parseEnvelope } from "./dsse.ts";
import { isSignedBy, signBytes } from "./keys.ts";
import {
  addUnderTag,
  artifactOf,
  layersAbout,
  PREDICATE,
  SIGNATURE,
  type SignatureKind,
  signatureTag,
} from "./manifest.ts";
import type { Signing } from "./contract.ts";
import { PAYLOAD_TYPE, payloadOf } from "./payload.ts";
import type { SignaturePlace } from "./place.ts";

export const SIGNATURES: SignatureKind = {
  suffix: "sig",
  layerType: PAYLOAD_TYPE,
  artifactType: "application/vnd.dev.cosign.artifact.sig.v1+json",
};
export const SIGNED_STATEMENTS: SignatureKind = {
  suffix: "att",
  layerType: DSSE_TYPE,
  artifactType: DSSE_TYPE,
};
/** Statements about one image. */
const STATEMENTS_MAX = 64;

export interface Signed {
  readonly kind: "signature" | "attestation";
  /** What was signed, or what the statement is about. */
  readonly digest: Digest;
  /** false: a signature by this key of the same was there. */
  readonly isNew: boolean;
}

/** What is to be there. */
interface Made {
  readonly kind: SignatureKind;
  /** What it is about. */
  readonly target: Descriptor;
  /** null: it is there. */
  readonly layer: Document | null;
}

const TAGS_AT_ONCE = 8;

/**
 * Signs what `name` (a tag or digest) stands for in a place. `identity`: the name that is signed, unless the terms have one. Throws
 * IMAGE_UNKNOWN, IMAGE_INVALID, SIGNATURE_INVALID when there are no statements to be signed, and what the place throws.
 */
export async function signImage(
  place: SignaturePlace,
  name: string,
  identity: string,
  signing: Signing,
): Promise<readonly Signed[]> {
  const { top, images } = await imagesUnder(place, name);
  const made: Made[] = [];
  const targets = signing.recursive ? [top, ...images.filter(({ digest }) => digest !== top.digest)] : [top];
  for (const target of targets) {
    const payload = payloadOf(signing.identity ?? identity, target.digest, signing.annotations);
    made.push(await signPayload(place, target, payload, signing));
  }
  if (signing.attestations) {
    const statements = await statementsAbout(place, top, images);
    if (statements.length === 0)
      throw new BuildError(
        "SIGNATURE_INVALID",
        `${place.shown}@${top.digest}: there are no attestations to sign`,
        {
          hint: "build the image with --provenance=true or --sbom=true",
        },
      );
    for (const statement of statements) made.push(await signStatement(place, statement, signing));
  }
  await addAll(place, made, signing);
  return made.map(({ kind, target, layer }) => ({
    kind: kind === SIGNATURES ? "signature" : "attestation",
    digest: target.digest,
    isNew: layer !== null,
  }));
}

/** An image or index, and all images of it, attestation manifests left out. Throws IMAGE_UNKNOWN, IMAGE_INVALID. */
export async function imagesUnder(
  place: SignaturePlace,
  name: string,
): Promise<{ readonly top: Descriptor; readonly images: readonly Descriptor[] }> {
  const found = await place.manifest(name);
  if (found === null)
    throw new BuildError("IMAGE_UNKNOWN", `${place.shown}: there is no image ${name}`, {
      hint: "signatures are in registries and layouts: images of the local store are pushed first",
    });
  const document = parseDocument(found.bytes, found.descriptor.mediaType, `${place.shown}@${name}`);
  const images =
    document.kind === "manifest"
      ? [found.descriptor]
      : document.manifests.filter((one) => attestedBy(one) === null);
  return { top: found.descriptor, images };
}

async function signPayload(
  place: SignaturePlace,
  target: Descriptor,
  payload: Uint8Array,
  signing: Signing,
): Promise<Made> {
  const { key } = signing;
  const { bytes, descriptor } = documentOf(PAYLOAD_TYPE, payload);
  const isThere = (await layersAbout(place, target.digest, SIGNATURES)).layers.some(({ descriptor: one }) => {
    const signature = one.annotations?.[SIGNATURE];
    return (
      one.digest === descriptor.digest &&
      signature !== undefined &&
      isSignedBy(key, payload, Buffer.from(signature, "base64"))
    );
  });
  if (isThere) return { kind: SIGNATURES, target, layer: null };
  const annotations = { [SIGNATURE]: signBytes(key, payload).toString("base64") };
  return { kind: SIGNATURES, target, layer: { bytes, descriptor: { ...descriptor, annotations } } };
}

async function signStatement(
  place: SignaturePlace,
  { subject, bytes, predicateType }: Statement,
  signing: Signing,
): Promise<Made> {
  let isThere = false;
  for (const { descriptor, shown } of (await layersAbout(place, subject.digest, SIGNED_STATEMENTS)).layers) {
    if (descriptor.annotations?.[PREDICATE] !== predicateType) continue;
    const envelope = parseEnvelope(await place.blob(descriptor, DSSE_MAX_BYTES), shown);
    isThere ||= envelope.payload.equals(bytes) && isEnvelopeSignedBy(signing.key, envelope);
  }
  if (isThere) return { kind: SIGNED_STATEMENTS, target: subject, layer: null };
  const layer = documentOf(DSSE_TYPE, envelopeOf(signing.key, IN_TOTO_TYPE, bytes));
  // cosign has the first one, too, and empty: the signature is in the envelope.
  const annotations = { [SIGNATURE]: "", [PREDICATE]: predicateType };
  const signed = { ...layer, descriptor: { ...layer.descriptor, annotations } };
  return { kind: SIGNED_STATEMENTS, target: subject, layer: signed };
}

/** Stores what is new. Tags are changed side by side, since each change waits for what others may write to the same one. */
async function addAll(place: SignaturePlace, made: readonly Made[], { referrers }: Signing): Promise<void> {
  const byTag = new Map<string, { target: Descriptor; kind: SignatureKind; layers: Document[] }>();
  for (const { kind, target, layer } of made) {
    if (layer === null) continue;
    if (referrers) {
      await place.putReferrer(artifactOf(target, kind, [layer]));
      continue;
    }
    const tag = signatureTag(target.digest, kind);
    const one = byTag.get(tag) ?? { target, kind, layers: [] };
    one.layers.push(layer);
    byTag.set(tag, one);
  }
  const all = [...byTag.values()];
  for (let at = 0; at < all.length; at += TAGS_AT_ONCE) {
    const outcomes = await Promise.allSettled(
      all
        .slice(at, at + TAGS_AT_ONCE)
        .map(({ target, kind, layers }) => addUnderTag(place, target.digest, kind, layers)),
    );
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }
}

/** A statement and the image it is about. */
interface Statement {
  readonly subject: Descriptor;
  readonly bytes: Buffer;
  readonly predicateType: string;
}

/** Unsigned statements about the images: those of the index, and those that refer to an image. */
async function statementsAbout(
  place: SignaturePlace,
  top: Descriptor,
  images: readonly Descriptor[],
): Promise<readonly Statement[]> {
  const index = await place.manifest(top.digest);
  const document = index === null ? null : parseDocument(index.bytes, null, `${place.shown}@${top.digest}`);
  const attached = document?.kind === "index" ? document.manifests : [];
  const statements: Statement[] = [];
  for (const subject of images) {
    const referring = (await place.referrers(subject.digest)).filter(
      ({ artifactType }) => artifactType === IN_TOTO_TYPE,
    );
    for (const { digest } of [
      ...attached.filter((one) => attestedBy(one) === subject.digest),
      ...referring,
    ]) {
      const manifest = await artifactUnder(place, digest);
      for (const layer of manifest.layers) {
        const predicateType = layer.annotations?.[PREDICATE_TYPE];
        if (layer.mediaType !== IN_TOTO_TYPE || predicateType === undefined) continue;
        if (statements.length >= STATEMENTS_MAX * images.length)
          throw new BuildError(
            "LIMIT_EXCEEDED",
            `${place.shown}@${digest}: more than ${STATEMENTS_MAX} attestations of one image`,
          );
        const bytes = Buffer.from(await place.blob(layer, STATEMENT_MAX_BYTES));
        // In the index and as a referrer: it is signed once.
        const isKnown = statements.some(
          (one) => one.subject.digest === subject.digest && one.bytes.equals(bytes),
        );
        if (!isKnown) statements.push({ subject, bytes, predicateType });
      }
    }
  }
  return statements;
}

async function artifactUnder(place: SignaturePlace, digest: Digest): Promise<Manifest> {
  const found = await place.manifest(digest);
  const shown = `${place.shown}@${digest}`;
  if (found === null) throw new BuildError("IMAGE_INVALID", `${shown}: the attestation manifest is missing`);
  const manifest = parseDocument(found.bytes, null, shown);
  if (manifest.kind !== "manifest")
    throw new BuildError("IMAGE_INVALID", `${shown}: an index in place of an attestation manifest`);
  return manifest;
}
