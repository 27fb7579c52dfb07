// Copies an image from one place to another with its digests, or a part of it.

import { platformRank } from "../../../cache/registry/platform-match.ts";
import { attestedBy } from "../../../exporters/attestation/statement.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import { encodeIndexOf } from "../../../exporters/raw-index.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Platform } from "../../../solver/graph/op.ts";
import { hostPlatform } from "../../../solver/graph/platform.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { CopyOptions, CopyReport, GraphNode, ImageAddress } from "./contract.ts";
import { imageFor, imageNodes, noPlatform, readGraph } from "./graph.ts";
import { copyGraph, noCounts } from "./send.ts";
import { type ImageDeps, type ImageSource, openSource } from "./source.ts";
import { openTarget } from "./target.ts";

/** Copies an image. Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED, REGISTRY_*, OUTPUT_*. */
export async function copyImage(
  from: ImageAddress,
  to: ImageAddress,
  { platforms, withReferrers }: CopyOptions,
  deps: ImageDeps,
): Promise<CopyReport> {
  if (withReferrers && (from.kind === "local" || to.kind !== "registry"))
    throw new BuildError("USAGE", "--referrers: signatures are copied from registry to registry");
  const source = await openSource(from, deps);
  const target = await openTarget(to, deps);
  const graph = await readGraph(source, deps.options);
  const chosen = await choose(graph, platforms, isDocker(to), source, deps);
  const way = { source, target, deps, counts: noCounts() };
  const { descriptor } = await copyGraph(chosen, way);
  let referrers = 0;
  if (withReferrers) {
    const { copyReferrers } = await import("./referrers.ts");
    referrers = await copyReferrers(chosen, way);
  }
  return { descriptor, ...way.counts, referrers };
}

function isDocker(to: ImageAddress): boolean {
  return to.kind === "archive" && to.format === "docker";
}

/** The part of a graph that is wanted. An archive of docker has one platform: without a choice this machine's. */
export async function choose(
  graph: GraphNode,
  platforms: readonly Platform[],
  isOne: boolean,
  source: ImageSource,
  deps: Pick<ImageDeps, "options">,
): Promise<GraphNode> {
  const [only, ...more] = platforms;
  if (only === undefined && !(isOne && imageNodes(graph).length !== 1)) {
    return isOne ? (imageNodes(graph)[0] ?? graph) : graph;
  }
  if (more.length === 0) {
    const image = await imageFor(graph, only ?? null, hostPlatform(), source, deps.options);
    if (only !== undefined && platformRank(only, image.platform) === null)
      throw noPlatform(source.shown, only, [image.node]);
    return image.node;
  }
  return reduced(graph, platforms, source.shown);
}

/** An index of some of the platforms, with their attestations. */
function reduced(graph: GraphNode, platforms: readonly Platform[], shown: string): GraphNode {
  if (graph.document?.kind !== "index" || graph.bytes === null)
    throw new BuildError("PLATFORM_UNSUPPORTED", `${shown}: it is an image of one platform`, {
      hint: "use --platform once, or not at all",
    });
  const wanted = new Set<Digest>();
  for (const platform of platforms) {
    const [best] = graph.children
      .filter(({ descriptor }) => !isAttestation(descriptor))
      .flatMap((child) => {
        const rank =
          child.descriptor.platform === undefined ? null : platformRank(platform, child.descriptor.platform);
        return rank === null ? [] : [{ child, rank }];
      })
      .toSorted((a, b) => a.rank - b.rank);
    if (best === undefined) throw noPlatform(shown, platform, imageNodes(graph));
    wanted.add(best.child.descriptor.digest);
  }
  const isKept = (descriptor: Descriptor): boolean =>
    wanted.has(descriptor.digest) || wanted.has((attestedBy(descriptor) ?? "") as Digest);
  const children = graph.children.filter(({ descriptor }) => isKept(descriptor));
  if (children.length === graph.children.length) return graph;
  const bytes = encodeIndexOf(graph.bytes, (entry) => isKept(entry as unknown as Descriptor));
  const { mediaType } = graph.descriptor;
  return {
    descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length },
    ...{ bytes, children, document: { ...graph.document, manifests: children.map((one) => one.descriptor) } },
  };
}
