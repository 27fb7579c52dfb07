// Signatures, attestations and other artifacts about an image that are beside it in its repository: by the referrers API, by its tag
// schema where a registry has no such API, and by the tags of cosign. distribution spec, "Listing Referrers", "Referrers Tag Schema";
// cosign: specs/SIGNATURE_SPEC.md, "Tag-based Discovery".

import { parseDocument } from "../../../cache/registry/documents.ts";
import type { Reference } from "../../../cache/registry/reference.ts";
import { referrersTag } from "../../../cache/registry/referrers.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import { addToList, listUnder } from "../../../exporters/referrers.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
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
    const prefix = referrersTag(digest);
    for (const suffix of COSIGN_TAGS) await copy({ tag: `${prefix}.${suffix}`, digest: null });
    const { options } = deps;
    // By the API, else by the tag that stands for it.
    const entries =
      (await registry.referrers(from as Reference, digest, options)) ??
      (await listUnder(registry, from as Reference, referrersTag(digest), options)).flatMap(
        (entry) => referrerOf(entry) ?? [],
      );
    for (const entry of entries) {
      await copy({ tag: null, digest: entry.digest });
      if (depth < DEPTH_MAX) await about(entry.digest, depth + 1);
    }
    if (entries.length === 0 || (await registry.referrers(to as Reference, digest, options)) !== null) return;
    for (const entry of entries) await addToList(registry, to as Reference, entry, digest, options);
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

/** An entry of a list that clients have written; null: it is none. */
function referrerOf(entry: Readonly<Record<string, unknown>>): Descriptor | null {
  const wrapped = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  try {
    const document = parseDocument(wrapped, null, "a list of referrers");
    return document.kind === "index" ? (document.manifests[0] ?? null) : null;
  } catch (error) {
    if (error instanceof BuildError) return null;
    throw error;
  }
}
