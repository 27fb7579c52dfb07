// Changes images without building: another layer on top, annotations. What is not changed keeps its bytes; a changed manifest has
// another digest, and the index another entry.

import { createReadStream } from "node:fs";
import { compressionOf } from "../archives.ts";
import { MEDIA_TYPES, parseDocument } from "../../../cache/registry/documents.ts";
import { type Annotation, annotationsFor } from "../../../exporters/annotations.ts";
import { isAttestation } from "../../../exporters/exporter.ts";
import { encodeGoJson, goTime, sortedMap } from "../../../exporters/go-json.ts";
import { encodeRawIndex, readRawIndex } from "../../../exporters/raw-index.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../../solver/graph/op.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { AppendRequest, GraphImage, GraphNode, ImageAddress } from "./contract.ts";
import { choose } from "./copy.ts";
import { copyGraph, noCounts } from "./send.ts";
import { checkLayerTar } from "./layer-tar.ts";
import { imageNodes, readGraph, readImageNode } from "./graph.ts";
import { type ImageDeps, type ImageSource, openSource } from "./source.ts";
import { openTarget } from "./target.ts";

/** Parts of an image that replace others or are new. */
interface Change {
  readonly manifest: Uint8Array;
  /** A new config and new layers, by digest. */
  readonly blobs: ReadonlyMap<Digest, () => AsyncIterable<Uint8Array>>;
}

export interface Changed {
  readonly descriptor: Descriptor;
  /** Attestations that are no longer true, because their image is another one. */
  readonly dropped: number;
}

/** Adds layers on top of an image: of each of its platforms, or of those that are chosen. Throws IMAGE_INVALID, ARCHIVE_INVALID. */
export async function appendLayers(request: AppendRequest, deps: ImageDeps): Promise<Changed> {
  const source = await openSource(request.from, deps);
  const graph = await choose(await readGraph(source, deps.options), request.platforms, false, source, deps);
  const layers: Layer[] = [];
  for (const path of request.paths) layers.push(await layerOf(path, deps));
  const changes = new Map<Digest, Change>();
  for (const node of imageNodes(graph)) {
    const image = await readImageNode(node, source, deps.options);
    changes.set(node.descriptor.digest, withLayers(image, layers, request));
  }
  return await send(graph, source, { changes, annotations: [] }, request.to, deps);
}

/** Sets annotations of the index, of manifests, and of entries of the index. Throws USAGE where there is no such thing. */
export async function annotateImage(
  from: ImageAddress,
  annotations: readonly Annotation[],
  to: ImageAddress,
  deps: ImageDeps,
): Promise<Changed> {
  const source = await openSource(from, deps);
  const graph = await readGraph(source, deps.options);
  const isIndex = graph.document?.kind === "index";
  if (graph.descriptor.mediaType.startsWith("application/vnd.docker."))
    throw new BuildError("USAGE", `${source.shown}: images of docker's media types have no annotations`);
  for (const { target } of annotations) {
    if (target === "index-descriptor")
      throw new BuildError(
        "USAGE",
        '"index-descriptor" annotations are for indexes in layouts, not for images',
      );
    if (!isIndex && target !== "manifest")
      throw new BuildError(
        "USAGE",
        `${source.shown} is an image without an index: it has only "manifest" annotations`,
        {
          hint: "tsbuild image create makes an index of it",
        },
      );
  }
  const changes = new Map<Digest, Change>();
  const known: string[] = [];
  for (const node of imageNodes(graph)) {
    const { platform, manifest } = await readImageNode(node, source, deps.options);
    known.push(formatPlatform(platform));
    const { manifest: own } = annotationsFor(annotations, platform);
    if (Object.keys(own).length === 0) continue;
    if (manifest.mediaType !== MEDIA_TYPES.ociManifest)
      throw new BuildError("USAGE", `${source.shown}: a manifest of docker's media types has no annotations`);
    const json = jsonOf(node);
    const before = (json["annotations"] ?? {}) as Record<string, string>;
    const bytes = encodeGoJson({ ...json, annotations: sortedMap({ ...before, ...own }) }, 2);
    changes.set(node.descriptor.digest, { manifest: bytes, blobs: new Map() });
  }
  const lost = annotations.find(({ platform }) => platform !== null && !known.includes(platform));
  if (lost !== undefined)
    throw new BuildError("PLATFORM_UNSUPPORTED", `${source.shown}: there is no image for ${lost.platform}`, {
      hint: `the image is available for ${known.join(", ")}`,
    });
  return await send(graph, source, { changes, annotations }, to, deps);
}

interface Layer {
  readonly digest: Digest;
  readonly size: number;
  readonly diffId: Digest;
  readonly compression: "gzip" | "zstd";
  readonly path: string;
  /** What the user wrote. */
  readonly shown: string;
}

/** A tar as it is if it is compressed by what images may have, else as gzip; a directory packed. */
async function layerOf(
  { path, shown, isDirectory }: AppendRequest["paths"][number],
  deps: ImageDeps,
): Promise<Layer> {
  const {
    parts: { store, keeper },
    lease,
    options: { signal },
    scope,
  } = deps;
  const keep = async (
    outcome: { readonly digest: Digest | null; readonly size: number | null; readonly diffId: Digest },
    ingest: ReturnType<typeof store.content.ingest>,
  ): Promise<Layer> => {
    const { digest, size, diffId } = outcome;
    if (digest === null || size === null) throw new Error("packing gave no blob");
    lease.addBlobs([digest]);
    ingest.commit({ digest, size, trusted: true });
    return { digest, size, diffId, compression: "gzip", path: store.content.path(digest), shown };
  };
  const ingest = scope.use(store.content.ingest());
  const form = { compression: "gzip", level: null, epochSeconds: null } as const;
  if (isDirectory) {
    const outcome = await keeper().run({ kind: "pack", dir: path, out: ingest.path, ...form }, { signal });
    return await keep(outcome, ingest);
  }
  await checkLayerTar(path, shown, signal);
  const compression = await compressionOf(path);
  if (compression === "gzip" || compression === "zstd") {
    for await (const chunk of createReadStream(path, { signal })) ingest.write(chunk as Buffer);
    const { digest, size } = ingest.commit({});
    lease.addBlobs([digest]);
    const blob = store.content.path(digest);
    const { diffId } = await keeper().run({ kind: "plain", blob }, { signal });
    return { digest, size, diffId, compression, path: blob, shown };
  }
  const outcome = await keeper().run(
    { kind: "recompress", blob: path, out: ingest.path, ...form },
    { signal },
  );
  return await keep(outcome, ingest);
}

function withLayers(
  { manifest, node, configBytes }: GraphImage,
  layers: readonly Layer[],
  { createdMs }: AppendRequest,
): Change {
  const isDocker = manifest.mediaType === MEDIA_TYPES.dockerManifest;
  const config = JSON.parse(Buffer.from(configBytes).toString("utf8")) as Record<string, unknown>;
  const created = goTime(createdMs);
  const rootfs = (config["rootfs"] ?? {}) as Record<string, unknown>;
  const newConfig = encodeGoJson({
    ...config,
    created,
    history: [
      ...((config["history"] ?? []) as unknown[]),
      ...layers.map(({ shown }) => ({ created, created_by: `tsbuild image append ${shown}` })),
    ],
    rootfs: {
      type: "layers",
      diff_ids: [...((rootfs["diff_ids"] ?? []) as unknown[]), ...layers.map(({ diffId }) => diffId)],
    },
  });
  const configDigest = digestOf(newConfig);
  const json = jsonOf(node);
  const manifestBytes = encodeGoJson(
    {
      ...json,
      config: { ...(json["config"] as object), digest: configDigest, size: newConfig.length },
      layers: [
        ...((json["layers"] ?? []) as unknown[]),
        ...layers.map(({ digest, size, compression }) => ({
          mediaType: isDocker
            ? `${MEDIA_TYPES.dockerLayer}.${compression}`
            : `${MEDIA_TYPES.ociLayer}+${compression}`,
          digest,
          size,
        })),
      ],
    },
    2,
  );
  const blobs = new Map<Digest, () => AsyncIterable<Uint8Array>>([[configDigest, () => once(newConfig)]]);
  for (const { digest, path } of layers) blobs.set(digest, () => createReadStream(path));
  return { manifest: manifestBytes, blobs };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

function jsonOf({ bytes }: GraphNode): Record<string, unknown> {
  return JSON.parse(Buffer.from(bytes ?? []).toString("utf8")) as Record<string, unknown>;
}

interface Changes {
  readonly changes: ReadonlyMap<Digest, Change>;
  /** Of the index and its entries; those of manifests are in the changes. */
  readonly annotations: readonly Annotation[];
}

/** Makes the changed graph, and sends it. */
async function send(
  graph: GraphNode,
  source: ImageSource,
  { changes, annotations }: Changes,
  to: ImageAddress,
  deps: ImageDeps,
): Promise<Changed> {
  const documents = new Map<Digest, Uint8Array>();
  const blobs = new Map([...changes.values()].flatMap((change) => [...change.blobs]));
  let dropped = 0;
  /** Attestations are about a manifest that is no more. */
  const isStale = ({ annotations: own }: Descriptor): boolean =>
    changes.has((own?.["vnd.docker.reference.digest"] ?? "") as Digest);

  function rebuilt(node: GraphNode): GraphNode {
    const change = changes.get(node.descriptor.digest);
    if (change !== undefined) return nodeOf(node.descriptor, change.manifest);
    if (node.document?.kind !== "index" || node.bytes === null) return node;
    const raw = readRawIndex(node.bytes);
    const children: GraphNode[] = [];
    const manifests: Record<string, unknown>[] = [];
    for (const [at, child] of node.children.entries()) {
      if (isAttestation(child.descriptor) && isStale(child.descriptor)) {
        dropped++;
        continue;
      }
      const next = rebuilt(child);
      const { digest, size } = next.descriptor;
      const own = isAttestation(child.descriptor)
        ? {}
        : descriptorAnnotations(annotations, child.descriptor.platform);
      const entry = { ...raw.manifests[at], digest, size };
      const before = (raw.manifests[at]?.["annotations"] ?? {}) as Record<string, string>;
      manifests.push(
        Object.keys(own).length === 0 ? entry : { ...entry, annotations: { ...before, ...own } },
      );
      children.push(next);
    }
    const { index } = annotationsFor(node === graph ? annotations : [], null);
    const bytes = encodeRawIndex({ ...raw, manifests, annotations: { ...raw.annotations, ...index } });
    return { ...nodeOf(node.descriptor, bytes), children };
  }

  function nodeOf(descriptor: Descriptor, bytes: Uint8Array): GraphNode {
    const digest = digestOf(bytes);
    documents.set(digest, bytes);
    const document = parseDocument(bytes, descriptor.mediaType, source.shown);
    return { descriptor: { ...descriptor, digest, size: bytes.length }, bytes, document, children: [] };
  }

  const changed = rebuilt(graph);
  const both: ImageSource = {
    ...source,
    async document(descriptor, maxBytes, how) {
      const open = blobs.get(descriptor.digest);
      if (open === undefined)
        return documents.get(descriptor.digest) ?? (await source.document(descriptor, maxBytes, how));
      const chunks: Uint8Array[] = [];
      for await (const chunk of open()) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    blob: (descriptor, how) => blobs.get(descriptor.digest)?.() ?? source.blob(descriptor, how),
  };
  const target = await openTarget(to, deps);
  const { descriptor } = await copyGraph(changed, { source: both, target, deps, counts: noCounts() });
  return { descriptor, dropped };
}

function descriptorAnnotations(
  annotations: readonly Annotation[],
  platform: Platform | undefined,
): Readonly<Record<string, string>> {
  return annotationsFor(annotations, platform ?? { os: "", architecture: "" }).manifestDescriptor;
}
