// What a client's frontend attests of its results, out of BuildKit's messages. BuildKit: AttestationFromPB in frontend/gateway/client/attestation.go.

import { posix } from "node:path";
import type { Ref, RefAttestation } from "../engine/bridge-contract.ts";
import type { SelfSubject, Subject } from "../../exporters/contract.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import {
  type Attestation,
  AttestationKind,
  type InTotoSubject,
  InTotoSubjectKind,
} from "../wire/messages/moby/buildkit/v1/frontend/gateway_pb.ts";

/** Attestations of one image, and subjects of one of them; more are refused. */
const ATTESTATIONS_MAX = 1000;
const SUBJECTS_MAX = 10_000;

/** `get`: a result by its id. Throws OUTPUT_INVALID, LIMIT_EXCEEDED, and what `get` throws. */
export function attestationsOf(
  messages: readonly Attestation[],
  get: (id: string) => Ref,
): readonly RefAttestation[] {
  if (messages.length > ATTESTATIONS_MAX)
    throw new BuildError("LIMIT_EXCEEDED", `an image has no more than ${ATTESTATIONS_MAX} attestations`);
  return messages.map(({ kind, metadata, ref, path, inTotoPredicateType: predicateType, inTotoSubjects }) => {
    if (ref === undefined || ref.id === "")
      throw new BuildError("OUTPUT_INVALID", "an attestation of the result does not have available content");
    const said = (key: string): string | null =>
      Object.hasOwn(metadata, key) ? Buffer.from(metadata[key] ?? []).toString() : null;
    const rest = { ref: get(ref.id), core: said("sbom-core"), inlineOnly: said("inline-only") === "true" };
    if (kind === AttestationKind.Bundle)
      return { ...rest, written: { kind: "bundle", path: rooted(path), predicateType } };
    if (kind !== AttestationKind.InToto)
      throw new BuildError("OUTPUT_INVALID", `unknown attestation kind ${kind}`);
    if (path === "")
      throw new BuildError("OUTPUT_INVALID", "an attestation of the result does not have set path");
    if (inTotoSubjects.length > SUBJECTS_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `an attestation has no more than ${SUBJECTS_MAX} subjects`);
    const subjects = inTotoSubjects.map(subjectOf);
    return { ...rest, written: { kind: "in-toto", path: rooted(path), predicateType, subjects } };
  });
}

function rooted(path: string): string {
  return posix.join("/", path);
}

function subjectOf({ kind, name, digest }: InTotoSubject): Subject | SelfSubject {
  switch (kind) {
    case InTotoSubjectKind.Self:
      return { kind: "self", name: name === "" || name === "_" ? null : name };
    case InTotoSubjectKind.Raw:
      return { name: name || "_", digest: Object.fromEntries(digest.map(partsOf)) };
    default:
      throw new BuildError("OUTPUT_INVALID", `unknown attestation subject kind ${String(kind)}`);
  }
}

/** "sha256:abc…" as algorithm and hex. */
function partsOf(digest: string): readonly [string, string] {
  const [, algorithm, encoded] = /^([a-z0-9+._-]+):([a-fA-F0-9]+)$/.exec(digest) ?? [];
  if (algorithm !== undefined && encoded !== undefined) return [algorithm, encoded];
  throw new BuildError("OUTPUT_INVALID", `${printable(digest, 100)} is not the digest of a subject`);
}
