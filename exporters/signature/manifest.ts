// The manifests that hold signatures, as cosign has them: an image whose layers are what was signed. sigstore/cosign specs/SIGNATURE_SPEC.md,
// "Storage"; pkg/oci/remote/write.go.

import { type Manifest, MEDIA_TYPES, parseDocument } from "../../cache/registry/documents.ts";
import { type Digest, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { encodeGoJson } from "../go-json.ts";
import { type Document, encodeDescriptor } from "../image.ts";
import { documentOf, type Referrer } from "../referrers.ts";
import type { SignaturePlace } from "./place.ts";

/** Annotation of a layer that is a payload: its signature in base64. */
export const SIGNATURE = "dev.cosignproject.cosign/signature";
/** Annotation of a layer that is an envelope: what the statement in it is. */
export const PREDICATE = "predicateType";
/** Of all versions. */
const BUNDLE_TYPE = /^application\/vnd\.dev\.sigstore\.bundle\b.*json\b/;
/** Signatures of one image; each is read and checked. */
const SIGNATURES_MAX = 256;

/** What is put beside an image: signatures of it, or of statements about it. */
export interface SignatureKind {
  /** Ends the tag they are under. */
  readonly suffix: "sig" | "att";
  readonly layerType: string;
  /** For artifacts that refer to the image. */
  readonly artifactType: string;
}

/** A layer of a manifest with signatures, and where it was found. */
export interface FoundLayer {
  readonly descriptor: Descriptor;
  /** For messages: "registry.example/app:sha256-….sig, layer 2". */
  readonly shown: string;
}

export function signatureTag(digest: Digest, { suffix }: Pick<SignatureKind, "suffix">): string {
  return `sha256-${hexOf(digest)}.${suffix}`;
}

/** What is beside an image. */
export interface Beside {
  readonly layers: readonly FoundLayer[];
  /** Manifests that were to hold signatures and are none: they hide no others. One sentence each. */
  readonly broken: readonly string[];
}

/** All layers of a kind that belong to an image: under the tag, and of the artifacts that refer to it. Throws LIMIT_EXCEEDED,
 *  and what the place throws. */
export async function layersAbout(
  place: SignaturePlace,
  digest: Digest,
  kind: SignatureKind,
): Promise<Beside> {
  const found: FoundLayer[] = [];
  const broken: string[] = [];
  const whole = async (name: string): Promise<Manifest | null> => {
    try {
      return await manifestUnder(place, name);
    } catch (error) {
      if (!(error instanceof BuildError) || !OF_ONE_MANIFEST.includes(error.code)) throw error;
      broken.push(error.message);
      return null;
    }
  };
  const take = (manifest: Manifest, shown: string): void => {
    manifest.layers.forEach((descriptor, index) => {
      if (descriptor.mediaType === kind.layerType)
        found.push({ descriptor, shown: `${shown}, layer ${index + 1}` });
    });
    if (found.length > SIGNATURES_MAX)
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${shown}: more than ${SIGNATURES_MAX} signatures of one image`,
        {
          hint: "remove those that are no longer needed",
        },
      );
  };
  const tag = signatureTag(digest, kind);
  const tagged = await whole(tag);
  if (tagged !== null) take(tagged, shownTag(place, tag));
  for (const { digest: name, artifactType } of await place.referrers(digest)) {
    if (artifactType !== kind.artifactType) continue;
    const artifact = await whole(name);
    // What the list says of it may be wrong.
    if (artifact?.subject?.digest === digest) take(artifact, `${place.shown}@${name}`);
  }
  return { layers: found, broken };
}

/** What is wrong with one manifest, and says nothing of the others. */
const OF_ONE_MANIFEST: readonly BuildError["code"][] = ["IMAGE_INVALID", "LIMIT_EXCEEDED", "DIGEST_MISMATCH"];

/** Sigstore bundles among the artifacts that refer to an image: where cosign 3 puts signatures. Throws as `layersAbout`. */
export async function bundlesAbout(place: SignaturePlace, digest: Digest): Promise<readonly FoundLayer[]> {
  const found: FoundLayer[] = [];
  for (const { digest: name, artifactType } of await place.referrers(digest)) {
    if (!BUNDLE_TYPE.test(artifactType ?? "")) continue;
    const artifact = await manifestUnder(place, name);
    if (artifact?.subject?.digest !== digest) continue;
    const [descriptor] = artifact.layers;
    if (descriptor !== undefined && BUNDLE_TYPE.test(descriptor.mediaType))
      found.push({ descriptor, shown: `${place.shown}@${name}` });
  }
  return found;
}

/** Adds layers under the tag of an image. Those that are there stay, as they are. Throws as `layersAbout`, and as `place.update`. */
export async function addUnderTag(
  place: SignaturePlace,
  digest: Digest,
  kind: SignatureKind,
  layers: readonly Document[],
): Promise<void> {
  const tag = signatureTag(digest, kind);
  const shown = shownTag(place, tag);
  await place.update(tag, (bytes) => {
    const known = bytes === null ? [] : signaturesIn(bytes, shown).layers;
    const added = layers.filter(({ descriptor }) => !known.some((one) => isSame(one, descriptor)));
    if (added.length === 0) return null;
    const digests = [...known, ...added.map(({ descriptor }) => descriptor)].map((layer) => layer.digest);
    if (digests.length > SIGNATURES_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `${shown}: there are ${SIGNATURES_MAX} signatures already`, {
        hint: "remove those that are no longer needed",
      });
    // Fields that are unknown here are kept: certificates, bundles, whatever comes.
    const before = bytes === null ? null : rawOf(bytes);
    const config = configOf(MEDIA_TYPES.ociConfig, digests);
    const manifest = documentOf(
      MEDIA_TYPES.ociManifest,
      encodeGoJson({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        config: encodeDescriptor(config.descriptor),
        layers: [...(before?.layers ?? []), ...added.map(({ descriptor }) => encodeDescriptor(descriptor))],
        ...(before === null ? {} : { annotations: before.annotations }),
      }),
    );
    return { blobs: [config, ...added], manifest };
  });
}

/** The same signature of the same. An envelope has its signature in it. */
function isSame(one: Descriptor, other: Descriptor): boolean {
  return one.digest === other.digest && one.annotations?.[SIGNATURE] === other.annotations?.[SIGNATURE];
}

/** The same layers as an artifact that refers to the image; its config is of the type of the artifact, as cosign looks for it. */
export function artifactOf(
  subject: Descriptor,
  { artifactType }: SignatureKind,
  layers: readonly Document[],
): Referrer {
  const config = configOf(
    artifactType,
    layers.map(({ descriptor }) => descriptor.digest),
  );
  const { mediaType, digest, size } = subject;
  const manifest = documentOf(
    MEDIA_TYPES.ociManifest,
    encodeGoJson({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      artifactType,
      config: encodeDescriptor(config.descriptor),
      layers: layers.map(({ descriptor }) => encodeDescriptor(descriptor)),
      subject: { mediaType, digest, size },
    }),
  );
  return {
    manifest: { ...manifest, descriptor: { ...manifest.descriptor, artifactType } },
    blobs: [config, ...layers],
    subject: digest,
  };
}

/** As go-containerregistry makes it for an image without files. */
function configOf(mediaType: string, layers: readonly Digest[]): Document {
  const created = "0001-01-01T00:00:00Z";
  return documentOf(
    mediaType,
    encodeGoJson({
      architecture: "",
      created,
      history: layers.map(() => ({ created })),
      os: "",
      rootfs: { type: "layers", diff_ids: layers },
      config: {},
    }),
  );
}

async function manifestUnder(place: SignaturePlace, name: string): Promise<Manifest | null> {
  const found = await place.manifest(name);
  if (found === null) return null;
  return signaturesIn(found.bytes, shownTag(place, name));
}

/** Throws IMAGE_INVALID. */
function signaturesIn(bytes: Uint8Array, shown: string): Manifest {
  const manifest = parseDocument(bytes, null, shown);
  if (manifest.kind !== "manifest")
    throw new BuildError("IMAGE_INVALID", `${shown}: it is an index, not a list of signatures`);
  return manifest;
}

function shownTag({ shown }: SignaturePlace, name: string): string {
  return `${shown}${name.includes(":") ? "@" : ":"}${name}`;
}

/** A manifest that has been parsed, as it is written. */
function rawOf(bytes: Uint8Array): { readonly layers: readonly unknown[]; readonly annotations?: unknown } {
  const { layers, annotations } = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
    readonly layers?: readonly unknown[] | null;
    readonly annotations?: unknown;
  };
  return { layers: layers ?? [], annotations };
}
