// Sends a graph to a destination: documents as they are, blobs that are there stay, a name comes last.

import { CONFIG_MAX_BYTES, MEDIA_TYPES } from "../../../cache/registry/documents.ts";
import { noteOrigin, originsOf } from "../../../cache/origins.ts";
import {
  formatRepository,
  isRepository,
  parseReference,
  type Reference,
} from "../../../cache/registry/reference.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform } from "../../../solver/graph/op.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { Document, GraphNode } from "./contract.ts";
import { imageNodes, inParallel } from "./graph.ts";
import type { ImageDeps, ImageSource } from "./source.ts";
import type { ImageTarget, Moved, SentImage } from "./target.ts";

/** More at once gain nothing, and hold memory. */
const BLOBS_AT_ONCE = 6;
const MOUNTS_MAX = 4;

/** From where to where. */
export interface Way {
  readonly source: ImageSource;
  readonly target: ImageTarget;
  readonly deps: ImageDeps;
  /** Counts what is sent. */
  readonly counts: Counts;
}

export interface Counts {
  existing: number;
  mounted: number;
  moved: number;
  movedBytes: number;
}

export function noCounts(): Counts {
  return { existing: 0, mounted: 0, moved: 0, movedBytes: 0 };
}

/** Sends a graph: blobs, then manifests from the leaves up, the name last. */
export async function copyGraph(graph: GraphNode, way: Way): Promise<{ readonly descriptor: Descriptor }> {
  const { source, target } = way;
  await sendBelow(graph, way);
  const top = documentOf(graph, source);
  await target.finish(top, target.reference === null ? await sentImages(graph, way) : []);
  note(graph, way);
  return { descriptor: top.descriptor };
}

/** Everything below a node, but not the node itself. Was the node there already? */
export async function sendBelow(graph: GraphNode, way: Way): Promise<boolean> {
  const { source, target, deps, counts } = way;
  let isThere = false;
  const order: GraphNode[] = [];
  const blobs = new Map<Digest, { readonly descriptor: Descriptor; readonly of: Digest }>();
  const seen = new Set<Digest>();
  const visit = async (node: GraphNode, isTop: boolean): Promise<void> => {
    if (seen.has(node.descriptor.digest)) return;
    seen.add(node.descriptor.digest);
    if (node.document === null) documentOf(node, source); // says what is missing
    if (await target.has(node.descriptor.digest)) {
      if (isTop) isThere = true;
      counts.existing += node.document?.kind === "manifest" ? node.document.layers.length + 1 : 0;
      return;
    }
    if (node.document?.kind === "manifest")
      for (const one of [...node.document.layers, node.document.config])
        blobs.set(one.digest, { descriptor: one, of: node.descriptor.digest });
    for (const child of node.children) await visit(child, false);
    if (!isTop) order.push(node);
  };
  await visit(graph, true);
  noteAll(graph, source.reference, deps);
  await inParallel([...blobs.values()], BLOBS_AT_ONCE, deps.options.signal, async (blob, signal) => {
    const { descriptor } = blob;
    const how = await sendBlob(
      descriptor,
      [descriptor.digest, blob.of, graph.descriptor.digest],
      way,
      signal,
    );
    if (how !== null) noteIn(target.reference, descriptor.digest, deps);
    if (how === null) return;
    if (how === "exists") counts.existing++;
    else if (how === "mounted") counts.mounted++;
    else {
      counts.moved++;
      counts.movedBytes += descriptor.size;
    }
  });
  for (const node of order) {
    await target.manifest(documentOf(node, source));
    note(node, way);
  }
  return isThere;
}

/** `seenAs`: digests that a repository with the blob has been seen to have: its own, or of a manifest above it. */
async function sendBlob(
  descriptor: Descriptor,
  seenAs: readonly Digest[],
  { source, target, deps: { options, vertex, parts } }: Way,
  signal: AbortSignal,
): Promise<Moved | null> {
  const { digest, size } = descriptor;
  let isShown = false;
  const say = (current: number, done: boolean): void => {
    isShown = true;
    options.emit({
      kind: "bytes",
      vertex,
      label: `copying ${digest}`,
      atMs: Date.now(),
      current,
      total: size,
      done,
    });
  };
  const host = target.reference?.host;
  const mountFrom =
    host === undefined
      ? []
      : [
          ...source.mountFrom(digest, host),
          // Repositories that are known to have the image have its blobs.
          ...seenAs
            .flatMap((one) => originsOf(parts.store.records, one))
            .filter(isRepository)
            .map(parseReference)
            .filter((one) => one.host === host)
            .map((one) => one.repository),
        ];
  try {
    const how = await target.blob(
      {
        descriptor,
        open: () => source.blob(descriptor, { signal }),
        mountFrom: [...new Set(mountFrom)].slice(0, MOUNTS_MAX),
      },
      { signal, onBytes: (current) => say(current, false) },
    );
    if (isShown) say(size, true);
    return how;
  } catch (error) {
    // Layers that may not be distributed are where their URLs say, and in no registry.
    const isForeign = /foreign|nondistributable/.test(descriptor.mediaType);
    if (
      isForeign &&
      error instanceof BuildError &&
      ["REGISTRY_NOT_FOUND", "IMAGE_UNKNOWN"].includes(error.code)
    )
      return null;
    throw error;
  }
}

function documentOf({ bytes, descriptor }: GraphNode, source: ImageSource): Document {
  if (bytes !== null) return { bytes, descriptor };
  const { platform } = descriptor;
  const what = platform === undefined ? descriptor.digest : formatPlatform(platform);
  throw new BuildError("IMAGE_UNKNOWN", `${source.shown}: the index lists ${what}, which is not there`, {
    hint: "choose what is there with --platform",
  });
}

/** The images of a graph for who has to know their configs. */
async function sentImages(graph: GraphNode, way: Way): Promise<readonly SentImage[]> {
  const images: SentImage[] = [];
  for (const node of imageNodes(graph)) {
    const image = await sentImage(node, way);
    if (image !== null) images.push(image);
  }
  return images;
}

/** null: the node is no image, but an attestation or another artifact. */
export async function sentImage(
  node: GraphNode,
  { source, deps: { options } }: Pick<Way, "source" | "deps">,
): Promise<SentImage | null> {
  const { document } = node;
  if (document?.kind !== "manifest" || isAttestation(node.descriptor)) return null;
  const { config, layers } = document;
  if (config.mediaType !== MEDIA_TYPES.ociConfig && config.mediaType !== MEDIA_TYPES.dockerConfig)
    return null;
  const bytes = await source.document(config, CONFIG_MAX_BYTES, options);
  return { manifest: documentOf(node, source), config: { bytes, descriptor: config }, layers };
}

/** Later copies mount from there. */
function note({ descriptor }: GraphNode, { target, deps }: Way): void {
  noteIn(target.reference, descriptor.digest, deps);
}

function noteAll(node: GraphNode, reference: Reference | null, deps: ImageDeps): void {
  if (reference === null) return;
  const seen = new Set<Digest>();
  const visit = ({ descriptor, children, bytes }: GraphNode): void => {
    if (seen.has(descriptor.digest) || bytes === null) return;
    seen.add(descriptor.digest);
    noteIn(reference, descriptor.digest, deps);
    children.forEach(visit);
  };
  visit(node);
}

function noteIn(reference: Reference | null, digest: Digest, { parts }: ImageDeps): void {
  if (reference !== null) noteOrigin(parts.store.records, formatRepository(reference), digest);
}
