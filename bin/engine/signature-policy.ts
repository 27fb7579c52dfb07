// Which images a build may stand on, by their signatures: policies of containers/image. containers-policy.json(5), signature/policy_types.go,
// signature/policy_reference_match.go.

import type { KeyObject } from "node:crypto";
import {
  canonicalHost,
  formatReference,
  formatRepository,
  parseReference,
  type Reference,
  withDefaultTag,
} from "../../cache/registry/reference.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import { isNameless } from "../../cache/image-record.ts";
import type { SignaturePlace } from "../../exporters/signature/place.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { AdmitImage } from "../../worker/contract.ts";

export interface SignaturePolicy {
  /** What the user knows it as. */
  readonly file: string;
  /** For images that no scope is about. */
  readonly initial: readonly Requirement[];
  /** By transport ("docker", "oci"), then by scope; "": all of the transport. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** All of a scope have to be met. */
export type Requirement =
  | { readonly kind: "insecureAcceptAnything" }
  | { readonly kind: "reject" }
  | {
      readonly kind: "sigstoreSigned";
      readonly keys: readonly KeyObject[];
      readonly identity: SignedIdentity;
    }
  /** One that is not known here, or not all of it, is met by nothing. */
  | { readonly kind: "unsupported"; readonly what: string };

export type SignedIdentity =
  | { readonly kind: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { readonly kind: "exactReference"; readonly reference: string }
  | { readonly kind: "exactRepository"; readonly repository: string }
  | { readonly kind: "remapIdentity"; readonly prefix: string; readonly signedPrefix: string };

/** An image as policies know it. */
interface PolicyImage {
  readonly transport: "docker" | "oci" | "containers-storage";
  /** Scopes it is in, the nearest first. */
  readonly scopes: readonly string[];
  /** null: it has no name that a signature could have. */
  readonly reference: Reference | null;
  readonly shown: string;
}

/** Checks every image that a build loads, once its digest is known. `registry`: asked for signatures. */
export function openSignatureGate(policy: SignaturePolicy, registry: () => Promise<Registry>): AdmitImage {
  async function check(
    image: PolicyImage,
    { digests, layout }: Parameters<AdmitImage>[1],
    signal: AbortSignal,
  ): Promise<void> {
    const { requirements, scope } = requirementsFor(policy, image);
    for (const requirement of requirements) {
      const problem = await unmet(requirement, image, digests, async () => {
        const { layoutPlace, registryPlace } = await import("../../exporters/signature/place.ts");
        if (layout !== null) return layoutPlace(layout, { signal });
        if (image.transport !== "docker" || image.reference === null) return null;
        return registryPlace(await registry(), image.reference, { signal });
      });
      if (problem === null) continue;
      const of = scope === null ? "default" : `${image.transport} ${JSON.stringify(scope)}`;
      throw new BuildError(
        "SOURCE_DENIED",
        `${image.shown}: not allowed by the signature policy ${policy.file} (${of}): ${problem}`,
      );
    }
  }

  /** Has the policy a scope for the tag, which an image by another digest beside the tag (NAME:TAG@DIGEST) would pass as? */
  async function isOtherThanTagged(
    { transport, reference, scopes: [exact = ""] }: PolicyImage,
    { isTagged }: Parameters<AdmitImage>[1],
  ): Promise<boolean> {
    if (reference === null || reference.tag === null) return false;
    return policy.transports.get(transport)?.has(exact) === true && !(await isTagged());
  }

  /** Images that may be: the metadata of one and its steps are asked for one after the other. */
  const admitted = new Set<string>();
  return async (identifier, found, { signal }) => {
    const named = policyImage(identifier, found.layout);
    const image = (await isOtherThanTagged(named, found)) ? byDigest(named, found.digests) : named;
    const key = JSON.stringify([image.transport, image.shown, found]);
    if (admitted.has(key)) return;
    await check(image, found, signal);
    admitted.add(key);
  };
}

/** What is missing; null: nothing. */
async function unmet(
  requirement: Requirement,
  image: PolicyImage,
  digests: readonly Digest[],
  placeOf: () => Promise<SignaturePlace | null>,
): Promise<string | null> {
  switch (requirement.kind) {
    case "insecureAcceptAnything":
      return null;
    case "reject":
      return "images of this scope are rejected";
    case "unsupported":
      return `${requirement.what} is not supported`;
    case "sigstoreSigned": {
      const place = await placeOf();
      if (place === null) return "a signature is required, and there is no place for one beside this image";
      const { verifiedSignatures } = await import("../../exporters/signature/verify.ts");
      const rejected: string[] = [];
      // Of an index, or of the image in it: an index names its images by digest.
      for (const digest of digests) {
        const found = await verifiedSignatures(place, digest, {
          ...{ keys: requirement.keys, annotations: {} },
          identity: (signed) => identityProblem(requirement.identity, image.reference, signed),
        });
        if (found.verified.length > 0) return null;
        rejected.push(...found.rejected);
      }
      const [first] = rejected;
      if (first === undefined) return `a signature is required, and ${digests[0]} has none`;
      return `none of its signatures will do: ${first}${rejected.length > 1 ? ` (and ${rejected.length - 1} more)` : ""}`;
    }
  }
}

/** `scope`: where the requirements are; null: they are the default. */
function requirementsFor(
  { initial, transports }: SignaturePolicy,
  { transport, scopes }: PolicyImage,
): { readonly requirements: readonly Requirement[]; readonly scope: string | null } {
  const known = transports.get(transport);
  for (const scope of [...scopes, ""]) {
    const requirements = known?.get(scope);
    if (requirements !== undefined) return { requirements, scope };
  }
  return { requirements: initial, scope: null };
}

function policyImage(identifier: string, layout: string | null): PolicyImage {
  const [, scheme = "", rest = ""] = /^(docker-image|oci-layout):\/\/(.*)$/s.exec(identifier) ?? [
    "",
    "docker-image",
    identifier,
  ];
  if (scheme === "oci-layout") {
    // PATH:TAG, PATH and the directories above; the root is none (policy_eval.go, oci/layout).
    const tag = /:([^/@:]+)(?:@[^/]*)?$/.exec(rest)?.[1];
    const scopes =
      layout === null ? [] : [...(tag === undefined ? [] : [`${layout}:${tag}`]), ...directories(layout)];
    return { transport: "oci", scopes, reference: null, shown: redactedPath(rest) };
  }
  if (isNameless(rest)) return { transport: "containers-storage", scopes: [], reference: null, shown: rest };
  const full = withDefaultTag(parseReference(rest));
  // In a graph a tag has the digest that it stood for beside it; signatures are compared with the digest anyway.
  const reference = full.tag === null ? full : { ...full, digest: null };
  return { transport: "docker", scopes: scopesOf(reference), reference, shown: formatReference(reference) };
}

/** The image without the tag, which stands for another one: docker/policyconfiguration/naming.go names it by its digest. */
function byDigest(image: PolicyImage, [digest]: readonly Digest[]): PolicyImage {
  if (image.reference === null || digest === undefined) return image;
  const reference = { ...image.reference, tag: null, digest };
  return { ...image, reference, scopes: scopesOf(reference), shown: formatReference(reference) };
}

const redactedPath = (text: string): string => `oci-layout://${printable(text, 300)}`;

function directories(path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.map((_, index) => `/${parts.slice(0, parts.length - index).join("/")}`);
}

/** The image by the one name that its registry has for rules. */
function canonical(reference: Reference): Reference {
  const host = canonicalHost(reference.host);
  // What is written without a host becomes this on Docker Hub: reference.ts.
  const isOfficial = host === "docker.io" && !reference.repository.includes("/");
  return { ...reference, host, repository: `${isOfficial ? "library/" : ""}${reference.repository}` };
}

/** A scope of `docker` with its host in the spelling that images are looked up by: a rule about a registry holds for all of its names. */
export function canonicalScope(scope: string): string {
  const [, host = "", rest = ""] = /^([^/]*)(.*)$/s.exec(scope) ?? [];
  return canonicalHost(host) + rest;
}

/** docker/policyconfiguration/naming.go: the reference, its repository, the namespaces above, the host, and *.DOMAIN. */
function scopesOf(written: Reference): readonly string[] {
  const reference = canonical(written);
  const { host, digest, tag } = reference;
  const repository = formatRepository(reference);
  const exact = digest === null ? `${repository}:${tag}` : `${repository}@${digest}`;
  const parts = repository.split("/");
  const above = parts.map((_, index) => parts.slice(0, parts.length - index).join("/"));
  const labels = host.replace(/:\d+$/, "").split(".");
  const wildcards = labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join(".")}`);
  return [exact, ...above, ...wildcards];
}

/** Why the signed name is not the one that was asked for; null: it is. */
function identityProblem(identity: SignedIdentity, intended: Reference | null, text: string): string | null {
  let signed: Reference;
  try {
    signed = canonical(parseReference(text));
  } catch {
    return `the signed name ${JSON.stringify(printable(text, 100))} is no name of an image`;
  }
  const wanted = wantedBy(identity, intended && canonical(intended));
  if (wanted === null) return "the image has no name that could be compared with the signed one";
  if (wanted === (isNamed(wanted) ? formatReference(signed) : formatRepository(signed))) return null;
  const isRepository = signed.tag === null && signed.digest === null;
  const hint = isRepository && isNamed(wanted) ? ', and "matchRepository" is for names without a tag' : "";
  return `it is for ${printable(text, 100)}, not for ${wanted}${hint}`;
}

/** The name that fits: with a tag or digest just that one, without all of that repository; null: the image has none. */
function wantedBy(identity: SignedIdentity, intended: Reference | null): string | null {
  switch (identity.kind) {
    case "exactReference":
      return formatReference(canonical(parseReference(identity.reference)));
    case "exactRepository":
      return formatRepository(canonical(parseReference(identity.repository)));
    case "matchRepository":
      return intended && formatRepository(intended);
    case "matchExact":
      return intended && formatReference(intended);
    case "matchRepoDigestOrExact":
      return intended && repoDigestOrExact(intended);
    case "remapIdentity": {
      if (intended === null) return null;
      const name = formatReference(intended);
      const { signedPrefix } = identity;
      const prefix = canonicalScope(identity.prefix);
      const isBelow =
        name === prefix || (name.startsWith(prefix) && /^[/:@]/.test(name.slice(prefix.length)));
      return repoDigestOrExact(
        isBelow ? canonical(parseReference(`${signedPrefix}${name.slice(prefix.length)}`)) : intended,
      );
    }
  }
}

/** One by digest is that image whatever its tags are. */
function repoDigestOrExact(reference: Reference): string {
  return reference.tag === null ? formatRepository(reference) : formatReference(reference);
}

function isNamed(name: string): boolean {
  const { tag, digest } = parseReference(name);
  return tag !== null || digest !== null;
}
