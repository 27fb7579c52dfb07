// Joins images to one index, as docker buildx imagetools create does. buildx: util/imagetools/create.go, commands/imagetools/create.go.

import { MEDIA_TYPES } from "../../../cache/registry/documents.ts";
import { platformRank } from "../../../cache/registry/platform-match.ts";
import type { Annotation } from "../../../exporters/annotations.ts";
import { encodeRawIndex, type RawDescriptor, readRawIndex } from "../../../exporters/raw-index.ts";
import { type Digest, digestOf } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../../solver/graph/op.ts";
import { normalizePlatform } from "../../../solver/graph/platform.ts";
import type { CombineRequest, Document, GraphNode, ImageAddress } from "./contract.ts";
import { noCounts, sendBelow, sentImage } from "./send.ts";
import { readGraph, readImageNode } from "./graph.ts";
import { type ImageDeps, type ImageSource, openSource } from "./source.ts";
import { openTarget, type SentImage } from "./target.ts";

/** An entry of the new index, and where it comes from. */
interface Part {
  readonly entry: RawDescriptor;
  readonly node: GraphNode;
  readonly source: ImageSource;
}

export interface Combined {
  /** As it is to be pushed. */
  readonly top: Document;
  readonly isIndex: boolean;
  readonly parts: readonly Part[];
}

/** Makes the index, or takes over the only source. Nothing is written. Throws USAGE, IMAGE_INVALID, and what reading throws. */
export async function combine(request: CombineRequest, deps: ImageDeps): Promise<Combined> {
  checkAnnotations(request.annotations);
  const sources: {
    readonly parts: readonly Part[];
    readonly node: GraphNode;
    readonly source: ImageSource;
  }[] = [];
  for (const { address, given } of request.sources) {
    const source = await openSource(address, deps);
    const node = await readGraph(source, deps.options);
    sources.push({ source, node, parts: await partsOf(node, given, source, deps) });
  }
  const [first] = sources;
  if (first === undefined) throw new BuildError("USAGE", "no sources specified");
  const isIndexed = first.node.document?.kind === "index";
  const isCopy =
    sources.length === 1 && request.annotations.length === 0 && (isIndexed || !request.prefersIndex);
  const isFiltered = request.platforms.length > 0;
  if (isCopy && !isFiltered) return unchanged(first.node, first.parts);
  if (isCopy && !isIndexed) {
    if (chosen(first.parts, request.platforms).length === 0) throw noneMatch();
    return unchanged(first.node, first.parts);
  }
  const merged = merge(sources.flatMap(({ parts }) => parts));
  const isDocker = merged.every(({ entry }) =>
    String(entry["mediaType"]).startsWith("application/vnd.docker."),
  );
  const before = isCopy && first.node.bytes !== null ? readRawIndex(first.node.bytes) : null;
  const mediaType = before?.mediaType || (isDocker ? MEDIA_TYPES.dockerIndex : MEDIA_TYPES.ociIndex);
  // Docker's lists know no annotations.
  const own = mediaType === MEDIA_TYPES.ociIndex ? request.annotations : [];
  const annotated = merged.map((part) => ({ ...part, entry: withAnnotations(part.entry, own) }));
  const parts = isFiltered ? chosen(annotated, request.platforms) : annotated;
  if (parts.length === 0) throw noneMatch();
  if (before !== null && parts.length === annotated.length) return unchanged(first.node, first.parts);
  const bytes = encodeRawIndex({
    ...(before ?? { annotations: {} }),
    ...(before === null
      ? {
          annotations: Object.fromEntries(
            own.filter(({ target }) => target === "index").map(({ key, value }) => [key, value]),
          ),
        }
      : {}),
    mediaType,
    manifests: parts.map(({ entry }) => entry),
  });
  return {
    top: { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } },
    ...{ isIndex: true, parts },
  };
}

function unchanged({ bytes, descriptor, document }: GraphNode, parts: readonly Part[]): Combined {
  if (bytes === null) throw new Error("a source without its bytes");
  const { mediaType, digest, size } = descriptor;
  return {
    top: { bytes, descriptor: { mediaType, digest, size } },
    isIndex: document?.kind === "index",
    parts,
  };
}

/** Sends what was combined to a destination, with all its parts. Throws as copyImage. */
export async function sendCombined(combined: Combined, to: ImageAddress, deps: ImageDeps): Promise<void> {
  const target = await openTarget(to, deps);
  const images: SentImage[] = [];
  for (const { node, source } of combined.parts) {
    const way = { source, target, deps, counts: noCounts() };
    const { bytes, descriptor } = node;
    const isThere = await sendBelow(node, way);
    if (bytes === null) throw new Error("a part without its bytes"); // sendBelow() has said so
    if (!isThere && combined.isIndex) await target.manifest({ bytes, descriptor });
    const image = target.reference === null ? await sentImage(node, way) : null;
    if (image !== null) images.push(image);
  }
  await target.finish(combined.top, images);
}

function noneMatch(): BuildError {
  return new BuildError("PLATFORM_UNSUPPORTED", "none of the manifests match the provided platforms");
}

function checkAnnotations(annotations: readonly Annotation[]): void {
  for (const { target } of annotations) {
    if (target === "manifest")
      throw new BuildError("USAGE", '"manifest" annotations would change the images that are joined', {
        hint: "use index:KEY=VALUE or manifest-descriptor:KEY=VALUE here, or tsbuild image annotate for a manifest",
      });
    if (target === "index-descriptor")
      throw new BuildError("USAGE", '"index-descriptor" annotations are invalid while creating an image');
  }
}

/** The entries that a source adds: those of its index, or itself with its platform. */
async function partsOf(
  node: GraphNode,
  given: RawDescriptor | null,
  source: ImageSource,
  deps: ImageDeps,
): Promise<readonly Part[]> {
  if (node.bytes === null || node.document === null) throw new Error("a source without its bytes");
  if (node.document.kind === "index") {
    const entries = readRawIndex(node.bytes).manifests;
    return node.children.map((child, at) => ({ entry: entries[at] ?? {}, node: child, source }));
  }
  const { mediaType, digest, size } = node.descriptor;
  if (given?.["size"] !== undefined && given["size"] !== 0 && given["size"] !== size)
    throw new BuildError(
      "USAGE",
      `invalid size of ${digest}: ${JSON.stringify(given["size"])}, but it has ${size} bytes`,
    );
  const stated = given?.["platform"] as RawDescriptor | undefined;
  const platform = await platformIn(node, stated, source, deps);
  const entry: RawDescriptor = {
    ...{ mediaType: (given?.["mediaType"] as string | undefined) || mediaType, digest, size },
    ...(given?.["annotations"] === undefined ? {} : { annotations: given["annotations"] }),
    ...(platform === null ? {} : { platform }),
    ...(given?.["artifactType"] === undefined ? {} : { artifactType: given["artifactType"] }),
  };
  return [{ entry, node, source }];
}

/** What is stated, completed by the config. */
async function platformIn(
  node: GraphNode,
  stated: RawDescriptor | undefined,
  source: ImageSource,
  { options }: ImageDeps,
): Promise<RawDescriptor | null> {
  if (stated?.["os"] && stated["architecture"]) return stated;
  const { config } = await readImageNode(node, source, options);
  const { os, architecture, variant } = normalizePlatform({
    ...{ os: config.os, architecture: config.architecture },
    ...(config.variant ? { variant: config.variant } : {}),
  });
  if (os === "" && architecture === "" && stated === undefined) return { architecture: "", os: "" };
  return {
    architecture: stated?.["architecture"] || architecture,
    os: stated?.["os"] || os,
    ...(stated?.["architecture"] || variant === undefined ? {} : { variant }),
    ...Object.fromEntries(Object.entries(stated ?? {}).filter(([, value]) => value !== "")),
  };
}

/** Each manifest once: a later mention adds platform and annotations. */
function merge(parts: readonly Part[]): readonly Part[] {
  const merged = new Map<Digest, Part>();
  for (const part of parts) {
    const { digest } = part.node.descriptor;
    const known = merged.get(digest);
    if (known === undefined) {
      merged.set(digest, part);
      continue;
    }
    const annotations = {
      ...(known.entry["annotations"] as object),
      ...(part.entry["annotations"] as object),
    };
    merged.set(digest, {
      ...known,
      entry: {
        ...known.entry,
        ...(part.entry["platform"] === undefined ? {} : { platform: part.entry["platform"] }),
        annotations,
      },
    });
  }
  return [...merged.values()];
}

function withAnnotations(entry: RawDescriptor, annotations: readonly Annotation[]): RawDescriptor {
  const platform = platformOfEntry(entry);
  const fitting = annotations.filter(
    (one) =>
      one.target === "manifest-descriptor" &&
      (one.platform === null || (platform !== null && one.platform === formatPlatform(platform))),
  );
  if (fitting.length === 0) return entry;
  const added = Object.fromEntries(fitting.map(({ key, value }) => [key, value]));
  return { ...entry, annotations: { ...(entry["annotations"] as object | undefined), ...added } };
}

function platformOfEntry(entry: RawDescriptor): Platform | null {
  const platform = entry["platform"] as Record<string, string> | null | undefined;
  if (platform === null || platform === undefined) return null;
  const { os = "", architecture = "", variant } = platform;
  return { os, architecture, ...(variant ? { variant } : {}) };
}

/** Those of the platforms, and what is attested of them. */
function chosen(parts: readonly Part[], platforms: readonly Platform[]): readonly Part[] {
  const digests = new Set(
    parts.flatMap(({ entry }) => {
      const own = platformOfEntry(entry);
      const isWanted = own !== null && platforms.some((platform) => platformRank(platform, own) === 0);
      return isWanted ? [String(entry["digest"])] : [];
    }),
  );
  return parts.filter(({ entry }) => {
    const about = (entry["annotations"] as Record<string, string> | undefined)?.[
      "vnd.docker.reference.digest"
    ];
    return digests.has(String(entry["digest"])) || (about !== undefined && digests.has(about));
  });
}
