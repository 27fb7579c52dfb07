// In-toto statements, and the manifest that attaches them to an image in its index. BuildKit: docs/attestations/attestation-storage.md,
// exporter/attestation/make.go, commitAttestationsManifest in exporter/containerimage/writer.go.

import { isManifestType, type Manifest, MEDIA_TYPES } from "../../cache/registry/documents.ts";
import { digestOf, hexOf } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Attestation, AttestedImage, SelfSubject, Subject } from "../contract.ts";
import { encodeGoJson } from "../go-json.ts";
import type { Document, MadeImage } from "../image.ts";
import { artifactAbout, documentOf, EMPTY_CONFIG, EMPTY_TYPE, type Referrer } from "../referrers.ts";
import { memberText, reformatJson } from "./json-text.ts";
import { imagePurl } from "./purl.ts";

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
export const IN_TOTO_TYPE = "application/vnd.in-toto+json";
export const PREDICATE_TYPE = "in-toto.io/predicate-type";
const ARTIFACT_TYPE = "application/vnd.docker.attestation.manifest.v1+json";
/** So that nobody takes it for an image to be run. */
const NO_PLATFORM: Platform = { os: "unknown", architecture: "unknown" };
/** BuildKit reads no larger one from a result. */
export const STATEMENT_MAX_BYTES: number = 40 << 20;

/** A statement as compact JSON, as Go's encoding/json writes it. `predicate`: JSON text. */
export function statementText(predicateType: string, subject: readonly Subject[], predicate: string): string {
  const head = Buffer.from(encodeGoJson({ _type: STATEMENT_TYPE, predicateType, subject })).toString();
  return `${head.slice(0, -1)},"predicate":${reformatJson(predicate)}}`;
}

/** The subjects of an image: its names, or "_" where it has none. */
export function imageSubjects(
  names: readonly string[],
  platform: Platform,
  manifest: Descriptor,
): readonly Subject[] {
  const digest = { sha256: hexOf(manifest.digest) };
  if (names.length === 0) return [{ name: "_", digest }];
  return names.map((name) => ({ name: imagePurl("docker", name, platform), digest }));
}

/** What an attestation is about, as its statement says it. `own`: the subjects of what is attested. */
export function subjectsOf(
  { subjects }: Pick<Attestation, "subjects">,
  own: readonly Subject[],
): readonly Subject[] {
  const isSelf = (one: Subject | SelfSubject): one is SelfSubject => "kind" in one;
  return (subjects ?? [{ kind: "self", name: null }]).flatMap((one) =>
    isSelf(one)
      ? own.flatMap(({ name, digest }) =>
          [name, ...(one.name === null ? [] : [one.name])].map((called) => ({ name: called, digest })),
        )
      : [one],
  );
}

export interface AttachOptions {
  /** Names the image gets, in full. */
  readonly names: readonly string[];
  /** An OCI artifact with a subject; false: a manifest that looks like an image's. */
  readonly ociArtifact: boolean;
}

/** The attestation manifest of an image with all its statements; its layers are the statements. `statements`: their bytes by digest. */
export interface AttestationManifest {
  readonly image: MadeImage;
  readonly statements: readonly Document[];
}

/** Statements about an image. Rejects as the attestations do. */
async function statementsAbout(
  image: MadeImage,
  attested: AttestedImage,
  attestations: readonly Attestation[],
  names: readonly string[],
): Promise<readonly Document[]> {
  const target = image.manifest.descriptor;
  const statements: Document[] = [];
  const own = imageSubjects(names, image.platform, target);
  for (const attestation of attestations) {
    const { predicateType, predicate } = attestation;
    const about = subjectsOf(attestation, own);
    const bytes = Buffer.from(statementText(predicateType, about, await predicate(attested)));
    statements.push({
      bytes,
      descriptor: {
        mediaType: IN_TOTO_TYPE,
        digest: digestOf(bytes),
        size: bytes.length,
        annotations: { [PREDICATE_TYPE]: predicateType },
      },
    });
  }
  return statements;
}

/** The statements about an image, each as an artifact beside it whose type is theirs. Rejects as the attestations do. */
export async function attestationReferrers(
  image: MadeImage,
  attested: AttestedImage,
  attestations: readonly Attestation[],
  names: readonly string[],
): Promise<readonly Referrer[]> {
  const statements = await statementsAbout(image, attested, attestations, names);
  return statements.map((statement) =>
    artifactAbout(
      image.manifest.descriptor,
      IN_TOTO_TYPE,
      [statement],
      statement.descriptor.annotations ?? {},
    ),
  );
}

/** Makes the statements about an image, and their manifest. Rejects as the attestations do. */
export async function attestationManifest(
  image: MadeImage,
  attested: AttestedImage,
  attestations: readonly Attestation[],
  { names, ociArtifact }: AttachOptions,
): Promise<AttestationManifest> {
  const target = image.manifest.descriptor;
  const statements = await statementsAbout(image, attested, attestations, names);
  const config = ociArtifact ? documentOf(EMPTY_TYPE, EMPTY_CONFIG) : legacyConfig(statements);
  const { mediaType, digest, size } = config.descriptor;
  const bytes = encodeGoJson(
    {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociManifest,
      ...(ociArtifact ? { artifactType: ARTIFACT_TYPE } : {}),
      config: {
        ...{ mediaType, digest, size },
        ...(ociArtifact ? { data: Buffer.from(EMPTY_CONFIG).toString("base64") } : {}),
      },
      layers: statements.map(({ descriptor }) => descriptor),
      ...(ociArtifact
        ? { subject: { mediaType: target.mediaType, digest: target.digest, size: target.size } }
        : {}),
    },
    2,
  );
  const manifest = documentOf(MEDIA_TYPES.ociManifest, bytes);
  return {
    statements,
    image: {
      platform: NO_PLATFORM,
      config,
      manifest: {
        bytes,
        descriptor: {
          ...manifest.descriptor,
          annotations: {
            "vnd.docker.reference.digest": target.digest,
            "vnd.docker.reference.type": "attestation-manifest",
          },
          platform: NO_PLATFORM,
        },
      },
      layers: statements.map(({ descriptor }) => ({
        descriptor,
        diffId: descriptor.digest,
        createdAtMs: null,
        description: "",
      })),
      created: null,
    },
  };
}

/** The config of an image without files whose layers are the statements. */
function legacyConfig(statements: readonly Document[]): Document {
  const { os, architecture } = NO_PLATFORM;
  const diffIds = statements.map(({ descriptor }) => descriptor.digest);
  return documentOf(
    MEDIA_TYPES.ociConfig,
    encodeGoJson({ architecture, os, config: {}, rootfs: { type: "layers", diff_ids: diffIds } }),
  );
}

/** Is an attestation manifest an artifact, or does it look like an image? */
export function isArtifact({ config }: Pick<Manifest, "config">): boolean {
  return config.mediaType === EMPTY_TYPE;
}

/** The image in an index that an attestation manifest is about; null: it is none. */
export function attestedBy({ annotations, mediaType }: Descriptor): string | null {
  if (!isManifestType(mediaType) || annotations?.["vnd.docker.reference.type"] !== "attestation-manifest")
    return null;
  return annotations["vnd.docker.reference.digest"] ?? null;
}

/** A statement about an image as an attestation of that image in another form, under another digest: what it says stays, to the byte.
 *  Subjects that are not the image itself stay as well. Throws IMAGE_INVALID. */
export function reattested(statement: Uint8Array, image: string): Attestation {
  const text = Buffer.from(statement).toString("utf8");
  let read: { readonly predicateType?: unknown; readonly subject?: unknown };
  try {
    read = JSON.parse(text) as typeof read;
  } catch (cause) {
    throw new BuildError("IMAGE_INVALID", "an attestation of the image is not JSON", { cause });
  }
  const predicate = typeof read === "object" && read !== null ? memberText(text, "predicate") : null;
  const { predicateType, subject } = read ?? {};
  if (predicate === null || typeof predicateType !== "string" || !Array.isArray(subject))
    throw new BuildError("IMAGE_INVALID", "an attestation of the image is not an in-toto statement");
  const isOfImage = (one: unknown): boolean =>
    (one as { readonly digest?: { readonly sha256?: unknown } } | null)?.digest?.sha256 ===
    image.slice("sha256:".length);
  return {
    ...{ predicateType, inlineOnly: false, filename: "" },
    predicate: async () => predicate,
    ...(subject.length === 0 || subject.some(isOfImage) ? {} : { subjects: subject as readonly Subject[] }),
  };
}
