// Signatures, attestations and other artifacts about an image that are beside it in its repository: by the referrers API, by its tag
// schema where a registry has no such API, and by the tags of cosign. distribution spec, "Listing Referrers", "Referrers Tag Schema";
// cosign: specs/SIGNATURE_SPEC.md, "Tag-based Discovery".

import { MANIFEST_MAX_BYTES, MEDIA_TYPES } from "../../../cache/registry/documents.ts";
import { referrersIn } from "../../../cache/registry/management.ts";
import type { Reference } from "../../../cache/registry/reference.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import { encodeRawIndex, type RawDescriptor, rawDescriptor } from "../../../exporters/raw-index.ts";
import { type Digest, isDigest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Registry } from "../../../cache/registry/contract.ts";
import type { GraphNode, ImageAddress } from "./contract.ts";
import { copyGraph, type Way } from "./send.ts";
import { readGraph } from "./graph.ts";
import { openSource } from "./source.ts";
import { openTarget } from "./target.ts";

const COSIGN_TAGS = ["sig", "att", "sbom"];
/** Artifacts about artifacts: a signature of an attestation. */
const DEPTH_MAX = 3;
const REFERRERS_MAX = 1000;

/** Copies what is said of an image and of its platforms. Returns how many artifacts there are. Throws as copyImage. */
export async function copyReferrers(graph: GraphNode, way: Way): Promise<number> {
  const { source, target, deps } = way;
  const from = source.reference;
  const to = target.reference;
  if (from === null || to === null)
    throw new BuildError("USAGE", "--referrers: signatures are copied from registry to registry");
  const registry = await deps.parts.registry(deps.options.session);
  const copied = new Set<string>();
  const asked = new Set<Digest>();

  async function copy(address: Pick<Reference, "tag" | "digest">): Promise<GraphNode | null> {
    const text = address.tag ?? address.digest ?? "";
    if (copied.has(text)) return null;
    if (copied.size >= REFERRERS_MAX)
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${source.shown}: more than ${REFERRERS_MAX} artifacts are about it`,
      );
    const of = (reference: Reference, shown: string): ImageAddress => ({
      ...{ kind: "registry", reference: { ...reference, ...address }, text: shown },
    });
    const own = await openSource(of(from as Reference, source.shown), deps);
    let found: GraphNode;
    try {
      found = await readGraph(own, deps.options);
    } catch (error) {
      if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return null;
      throw error;
    }
    copied.add(text);
    await copyGraph(found, {
      ...way,
      source: own,
      target: await openTarget(of(to as Reference, target.shown), deps),
    });
    return found;
  }

  async function about(digest: Digest, depth: number): Promise<void> {
    if (asked.has(digest)) return;
    asked.add(digest);
    const prefix = digest.replace(":", "-");
    for (const suffix of COSIGN_TAGS) await copy({ tag: `${prefix}.${suffix}`, digest: null });
    const entries = await listed(registry, from as Reference, digest, deps.options.signal);
    for (const { digest: one } of entries) {
      if (typeof one !== "string" || !isDigest(one)) continue;
      await copy({ tag: null, digest: one });
      if (depth < DEPTH_MAX) await about(one, depth + 1);
    }
    if (entries.length > 0) await list(registry, to as Reference, digest, entries, deps.options.signal);
  }

  const digests = new Set<Digest>();
  const visit = (node: GraphNode): void => {
    if (isAttestation(node.descriptor)) return;
    digests.add(node.descriptor.digest);
    node.children.forEach(visit);
  };
  visit(graph);
  for (const digest of digests) await about(digest, 0);
  return copied.size;
}

/** By the API, else by the tag that stands for it. */
async function listed(
  registry: Registry,
  repository: Reference,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly RawDescriptor[]> {
  const known = await registry.referrers(repository, digest, { signal });
  return known ?? (await tagged(registry, repository, digest, signal));
}

async function tagged(
  registry: Registry,
  repository: Reference,
  digest: Digest,
  signal: AbortSignal,
): Promise<readonly RawDescriptor[]> {
  try {
    const tag = digest.replace(":", "-");
    const { bytes } = await registry.manifest({ ...repository, tag, digest: null }, { signal });
    if (bytes.length > MANIFEST_MAX_BYTES) return [];
    return referrersIn(bytes, `${repository.repository}:${tag}`);
  } catch (error) {
    if (error instanceof BuildError && error.code === "REGISTRY_NOT_FOUND") return [];
    throw error;
  }
}

/** A registry without the API has the list under a tag, which is up to its clients. */
async function list(
  registry: Registry,
  repository: Reference,
  digest: Digest,
  entries: readonly RawDescriptor[],
  signal: AbortSignal,
): Promise<void> {
  if ((await registry.referrers(repository, digest, { signal })) !== null) return;
  const before = await tagged(registry, repository, digest, signal);
  const all = new Map(
    [...before, ...entries].map((entry) => [String(entry["digest"]), rawDescriptor(entry)]),
  );
  if (all.size === before.length) return;
  const mediaType = MEDIA_TYPES.ociIndex;
  const bytes = encodeRawIndex({ mediaType, manifests: [...all.values()], annotations: {} });
  await registry.putManifest(repository, digest.replace(":", "-"), bytes, mediaType, { signal });
}
