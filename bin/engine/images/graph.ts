// Reads an image as a graph: index, manifests, configs. Documents are untrusted, and all of them together are bounded.

import {
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
  isIndexType,
  parseConfig,
  parseDocument,
  platformOfConfig,
} from "../../../cache/registry/documents.ts";
import { platformRank } from "../../../cache/registry/platform-match.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../../solver/graph/op.ts";
import { Scope } from "../../../solver/graph/scope.ts";
import type { GraphImage, GraphNode } from "./contract.ts";
import type { ImageSource } from "./source.ts";

const DEPTH_MAX = 4;
const DOCUMENTS_MAX = 10_000;
const DOCUMENTS_MAX_BYTES = 256 << 20;
/** Entries of all indexes, each as often as it is reached: an index may list another one a thousand times. */
const ENTRIES_MAX = 50_000;
const READS_AT_ONCE = 6;

/** Reads a manifest or index, and everything below it. Throws IMAGE_INVALID, LIMIT_EXCEEDED, and what the source throws. */
export async function readGraph(
  source: ImageSource,
  options: { readonly signal: AbortSignal },
): Promise<GraphNode> {
  const known = new Map<Digest, Promise<GraphNode>>();
  const reached = new Map<Digest, number>();
  let bytesRead = 0;

  async function node(descriptor: GraphNode["descriptor"], depth: number): Promise<GraphNode> {
    const found = known.get(descriptor.digest);
    if (found !== undefined) return { ...(await found), descriptor };
    if (known.size >= DOCUMENTS_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `${source.shown}: more than ${DOCUMENTS_MAX} manifests`);
    const reading = read(descriptor, depth);
    known.set(descriptor.digest, reading);
    return await reading;
  }

  async function read(descriptor: GraphNode["descriptor"], depth: number): Promise<GraphNode> {
    let bytes: Uint8Array;
    try {
      bytes = await source.document(descriptor, MANIFEST_MAX_BYTES, options);
    } catch (error) {
      const isMissing = error instanceof BuildError && error.code === "IMAGE_UNKNOWN" && depth > 0;
      if (isMissing) return { descriptor, bytes: null, document: null, children: [] };
      throw error;
    }
    bytesRead += bytes.length;
    if (bytesRead > DOCUMENTS_MAX_BYTES)
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${source.shown}: its manifests have more than ${DOCUMENTS_MAX_BYTES} bytes`,
      );
    const document = parseDocument(
      bytes,
      descriptor.mediaType || null,
      `${source.shown}: ${descriptor.digest}`,
    );
    const own = { ...descriptor, mediaType: document.mediaType, size: bytes.length };
    if (document.kind === "manifest") return { descriptor: own, bytes, document, children: [] };
    if (depth >= DEPTH_MAX)
      throw new BuildError("IMAGE_INVALID", `${source.shown}: indexes nested deeper than ${DEPTH_MAX}`);
    const children = await inParallel(document.manifests, READS_AT_ONCE, options.signal, (child) =>
      node(child, depth + 1),
    );
    const count = children.reduce((sum, child) => sum + (reached.get(child.descriptor.digest) ?? 1), 1);
    if (count > ENTRIES_MAX)
      throw new BuildError(
        "LIMIT_EXCEEDED",
        `${source.shown}: its indexes have more than ${ENTRIES_MAX} entries`,
      );
    reached.set(descriptor.digest, count);
    return { descriptor: own, bytes, document, children };
  }

  const top = await source.top(options);
  return await node(top, 0);
}

/** Runs `work` on all items, a few at once, in their order; the first failure stops the others. */
export async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  parent: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  const waiting = [...items.entries()];
  await using scope = new Scope(parent);
  await scope.all(
    Array.from({ length: Math.min(atOnce, items.length) }, () => async (signal: AbortSignal) => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
        results[next[0]] = await work(next[1], signal);
    }),
  );
  return results;
}

/** Manifests of a graph that are images, in their order: no attestations, no indexes. */
export function imageNodes(top: GraphNode): readonly GraphNode[] {
  if (top.document?.kind === "index" || isIndexType(top.descriptor.mediaType))
    return top.children.flatMap((child) => (isAttestation(child.descriptor) ? [] : imageNodes(child)));
  return [top];
}

/** The image of a manifest, with its config. Throws IMAGE_INVALID where it is none. */
export async function readImageNode(
  node: GraphNode,
  source: ImageSource,
  options: { readonly signal: AbortSignal },
): Promise<GraphImage> {
  const { document: manifest, descriptor } = node;
  if (manifest?.kind !== "manifest")
    throw new BuildError("IMAGE_UNKNOWN", `${source.shown}: ${descriptor.digest} is not there`, {
      hint: "the index lists it, but this place has only a part of the image",
    });
  const configBytes = await source.document(manifest.config, CONFIG_MAX_BYTES, options);
  const config = parseConfig(configBytes, null, `${source.shown}: ${manifest.config.digest}`);
  return { node, manifest, config, configBytes, platform: descriptor.platform ?? platformOfConfig(config) };
}

/** The image of a platform. `wanted` null: this machine's if there is one, else the only one. Throws PLATFORM_UNSUPPORTED. */
export async function imageFor(
  top: GraphNode,
  wanted: Platform | null,
  host: Platform,
  source: ImageSource,
  options: { readonly signal: AbortSignal },
): Promise<GraphImage> {
  const nodes = imageNodes(top);
  const ranked: { readonly image: GraphImage | null; readonly node: GraphNode; readonly rank: number }[] = [];
  const [only] = nodes;
  if (only !== undefined && nodes.length === 1 && wanted === null)
    return await readImageNode(only, source, options);
  for (const node of nodes) {
    const image = node.descriptor.platform === undefined ? await readImageNode(node, source, options) : null;
    const rank = platformRank(wanted ?? host, image?.platform ?? node.descriptor.platform ?? host);
    if (rank !== null) ranked.push({ image, node, rank });
  }
  const [best] = ranked.toSorted((a, b) => a.rank - b.rank);
  if (best !== undefined) return best.image ?? (await readImageNode(best.node, source, options));
  throw noPlatform(source.shown, wanted ?? host, nodes);
}

export function noPlatform(shown: string, wanted: Platform, nodes: readonly GraphNode[]): BuildError {
  const offered = nodes.flatMap(({ descriptor: { platform } }) =>
    platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)],
  );
  return new BuildError("PLATFORM_UNSUPPORTED", `${shown}: there is no image for ${formatPlatform(wanted)}`, {
    hint: offered.length === 0 ? null : `the image is available for ${[...new Set(offered)].join(", ")}`,
  });
}
