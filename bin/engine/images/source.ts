// Opens an image wherever it is: its documents, and the bytes of its blobs, which are streamed and never kept.

import { findImage, type LocalImage } from "../local-images.ts";
import { plainFile } from "../archives.ts";
import { builtImages, isClamped, type LocalBuilt, outputDeps, presentOf } from "../local-outputs.ts";
import { savedOf } from "../save.ts";
import { transferWorker } from "../pull.ts";
import type { EngineParts } from "../parts.ts";
import type { EngineTransferOptions } from "../request.ts";
import { remoteBytes } from "../../../cache/registry/image.ts";
import { isOlderArchive, takeArchive } from "../../../cache/registry/image-archive.ts";
import { isIndexType, isManifestType } from "../../../cache/registry/documents.ts";
import { type Layout, openLayout } from "../../../cache/registry/layout.ts";
import {
  formatReference,
  isRepository,
  parseReference,
  type Reference,
  withDefaultTag,
} from "../../../cache/registry/reference.ts";
import { type Assembled, assembledFrom } from "../../../exporters/exporter.ts";
import { parseOutput } from "../../../exporters/output-grammar.ts";
import type { Digest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import type { LocalWorker } from "../../../worker/worker.ts";
import type { Scope } from "../../../solver/graph/scope.ts";
import type { Lease, RemoteBlob } from "../../../cache/contract.ts";
import type { Registry, SignalOptions, TransferOptions } from "../../../cache/registry/contract.ts";
import type { ImageAddress } from "./contract.ts";

/** What one use of the image tools works with. */
export interface ImageDeps {
  readonly parts: EngineParts;
  readonly options: EngineTransferOptions;
  /** The step that is shown. */
  readonly vertex: Digest;
  readonly scope: Scope;
  readonly lease: Lease;
}

/** An image that can be read. All bytes are verified against their digests. */
export interface ImageSource {
  /** What the user wrote. */
  readonly shown: string;
  /** As buildx prints it: docker.io/library/app:1; of a layout or archive what the user wrote. */
  readonly name: string;
  /** The repository; null: it is in no registry. */
  readonly reference: Reference | null;
  /** Of the local store: its images with their layers as they are here. */
  readonly built?: { readonly worker: LocalWorker; images(): readonly LocalBuilt[] };
  /** What the address stands for. */
  top(options: SignalOptions): Promise<Descriptor>;
  /** Throws IMAGE_UNKNOWN when it is not here, IMAGE_INVALID over maxBytes, DIGEST_MISMATCH. */
  document(descriptor: Descriptor, maxBytes: number, options: SignalOptions): Promise<Uint8Array>;
  blob(descriptor: Descriptor, options: TransferOptions): AsyncIterable<Uint8Array>;
  /** Repositories of a host that have the blob, as far as is known. */
  mountFrom(digest: Digest, host: string): readonly string[];
}

/** Opens what an address names. Throws IMAGE_UNKNOWN, IMAGE_INVALID, CONTEXT_MISSING, REGISTRY_* (when it is read). */
export async function openSource(address: ImageAddress, deps: ImageDeps): Promise<ImageSource> {
  switch (address.kind) {
    case "registry":
      return await registrySource(address.reference, address.text, deps);
    case "local":
      return await localSource(findImage(deps.parts.store, address.name), address.text, deps);
    case "name": {
      const found = localOf(address.name, deps);
      if (found !== null) return await localSource(found, address.text, deps);
      return await registrySource(withDefaultTag(parseReference(address.name)), address.text, deps);
    }
    case "layout":
      return layoutSource(openLayout(address.path), address.name, address.text);
    case "archive":
      return await archiveSource(address, deps);
  }
}

/** null: the local store has no image of that name or ID. */
function localOf(text: string, { parts }: ImageDeps): LocalImage | null {
  try {
    return findImage(parts.store, text);
  } catch (error) {
    if (error instanceof BuildError && error.code === "IMAGE_UNKNOWN") return null;
    throw error;
  }
}

async function registrySource(
  reference: Reference,
  shown: string,
  { parts, options }: ImageDeps,
): Promise<ImageSource> {
  const registry = await parts.registry(options.session);
  return {
    ...{ shown, reference },
    name: formatReference(reference),
    top: (how) => registry.resolve(reference, how),
    document: (descriptor, maxBytes, how) =>
      registryDocument(registry, reference, descriptor, { ...how, maxBytes }),
    blob: (descriptor, how) => registry.blob(reference, descriptor, how),
    mountFrom: (_, host) => (host === reference.host ? [reference.repository] : []),
  };
}

async function registryDocument(
  registry: Registry,
  reference: Reference,
  descriptor: Descriptor,
  { signal, maxBytes }: SignalOptions & { readonly maxBytes: number },
): Promise<Uint8Array> {
  checkSize(descriptor, maxBytes, formatReference(reference));
  const { mediaType } = descriptor;
  if (mediaType !== "" && !isManifestType(mediaType) && !isIndexType(mediaType))
    return await collected(registry.blob(reference, descriptor, { signal }));
  return (await registry.manifest({ ...reference, tag: null, digest: descriptor.digest }, { signal })).bytes;
}

function layoutSource(layout: Layout, name: string | null, shown: string): ImageSource {
  const found = layout.find(name);
  const top: Descriptor =
    "size" in found ? found : { mediaType: "", digest: found.digest, size: Number.MAX_SAFE_INTEGER };
  return {
    ...{ shown, name: shown, reference: null },
    async top() {
      // Names in a layout's index are about this place, not about the image.
      const { mediaType, digest, size, platform } = top;
      return { mediaType, digest, size, ...(platform === undefined ? {} : { platform }) };
    },
    async document(descriptor, maxBytes, how) {
      if (descriptor.size !== Number.MAX_SAFE_INTEGER) checkSize(descriptor, maxBytes, shown);
      return await collected(layout.blob({ ...descriptor, size: maxBytes }, how));
    },
    blob: (descriptor, how) => layout.blob(descriptor, how),
    mountFrom: () => [],
  };
}

async function archiveSource(
  { path, name, text }: Extract<ImageAddress, { kind: "archive" }>,
  { parts, options, lease }: ImageDeps,
): Promise<ImageSource> {
  if (path === null)
    throw new BuildError("USAGE", `${text}: an archive is read from a file`, {
      hint: "tsbuild load reads one from standard input",
    });
  const { signal } = options;
  const { store } = parts;
  const plain = await plainFile(store, { kind: "file", path }, signal);
  if (!isOlderArchive(plain)) return layoutSource(openLayout(plain), name, text);
  // The older format of docker save: its documents are made of it.
  const images = await takeArchive(plain, store, { signal, lease, onBytes: () => {} });
  const fitting = name === null ? images : images.filter(({ names }) => names.includes(name));
  const [image] = fitting;
  if (image === undefined || fitting.length > 1)
    throw new BuildError(
      "IMAGE_UNKNOWN",
      image === undefined
        ? `${text}: there is no such image in it`
        : `${text}: it contains ${fitting.length} images`,
      { hint: `its images are ${images.flatMap(({ names }) => names).join(", ") || "without a name"}` },
    );
  return contentSource(image.target, text, parts);
}

/** What is in the content store. */
function contentSource(target: Descriptor, shown: string, { store }: EngineParts): ImageSource {
  return {
    ...{ shown, name: shown, reference: null },
    top: async () => target,
    async document({ digest }, maxBytes) {
      if (!store.content.has(digest))
        throw new BuildError("IMAGE_UNKNOWN", `${shown}: ${digest} is not there`);
      return store.content.read(digest, maxBytes);
    },
    blob: ({ digest }, { signal }) => store.content.stream(digest, { signal }),
    mountFrom: () => [],
  };
}

/** An image of the local store. One that was never pushed is packed when it is first read, as for a push; what of another is not here comes
 *  from the repository that has it. */
async function localSource(found: LocalImage, shown: string, deps: ImageDeps): Promise<ImageSource> {
  const { parts, options, lease, scope } = deps;
  const { store } = parts;
  const { record } = found;
  lease.addBlobs([record.target.digest]);
  lease.addLayers(Object.values(record.layers).flat());
  const worker = scope.use(transferWorker(parts, options));
  const present = presentOf(found);
  let packing: Promise<Packed> | null = null;
  let remotes: ReadonlyMap<Digest, RemoteBlob> = new Map();
  const packed = async (): Promise<Packed> => {
    const { assembled, documents } = await (packing ??= packLocal(present, shown, worker, deps));
    ({ remotes } = assembled);
    return { assembled, documents };
  };
  const repositories = (record.confirmed ?? []).map((one) => parseReference(one));
  const [repository] = repositories;
  const elsewhere = (digest: Digest): BuildError =>
    new BuildError("IMAGE_UNKNOWN", `${shown}: ${digest} is not in the local store`);
  return {
    ...{ shown, reference: null },
    name: shown,
    built: { worker, images: () => builtImages(present, shown, store) },
    async top() {
      const { assembled } = await packed();
      const { mediaType, digest, size, platform } = assembled.top.descriptor;
      return {
        mediaType,
        digest,
        size,
        ...(platform === undefined || assembled.isIndex ? {} : { platform }),
      };
    },
    async document(descriptor, maxBytes, how) {
      const known = (await packed()).documents.get(descriptor.digest);
      if (known !== undefined) return known;
      if (store.content.has(descriptor.digest)) return store.content.read(descriptor.digest, maxBytes);
      if (repository === undefined) throw elsewhere(descriptor.digest);
      const registry = await parts.registry(options.session);
      return await registryDocument(registry, repository, descriptor, { ...how, maxBytes });
    },
    async *blob(descriptor, how) {
      const { digest } = descriptor;
      const { assembled, documents } = await packed();
      const bytes = documents.get(digest);
      if (bytes !== undefined) yield bytes;
      else if (store.content.has(digest)) yield* store.content.stream(digest, how);
      else {
        const from: RemoteBlob | null =
          assembled.remotes.get(digest) ??
          (repository === undefined ? null : { descriptor, from: formatReference(repository) });
        if (from === null) throw elsewhere(digest);
        yield* remoteBytes(from, await parts.registry(options.session), how);
      }
    },
    mountFrom(digest, host) {
      const remote = remotes.get(digest)?.from;
      const all = [
        ...repositories,
        ...(remote === undefined || !isRepository(remote) ? [] : [parseReference(remote)]),
      ];
      return all.filter((one) => one.host === host).map((one) => one.repository);
    },
  };
}

interface Packed {
  readonly assembled: Assembled;
  /** Their bytes, by digest. */
  readonly documents: ReadonlyMap<Digest, Uint8Array>;
}

async function packLocal(
  found: LocalImage,
  shown: string,
  worker: LocalWorker,
  { parts, options, vertex, lease }: ImageDeps,
): Promise<Packed> {
  const saved = await savedOf(found, shown, null, worker, parts.store);
  const output = parseOutput("type=oci,dest=-");
  if (output.kind !== "archive") throw new Error("no archive");
  const { signal, emit } = options;
  const assembled = await assembledFrom(
    { ...saved, names: [] },
    output,
    outputDeps(parts, worker, vertex, options, isClamped(found, parts.store)),
    { signal, emit, vertex, epochSeconds: null, nowMs: Date.now },
    lease,
  );
  const all = [assembled.top, ...assembled.images.flatMap(({ config, manifest }) => [config, manifest])];
  return {
    assembled,
    documents: new Map(all.map(({ bytes, descriptor }) => [descriptor.digest, bytes])),
  };
}

function checkSize({ digest, size }: Descriptor, maxBytes: number, name: string): void {
  if (size > maxBytes)
    throw new BuildError("IMAGE_INVALID", `${name}: the document ${digest} has more than ${maxBytes} bytes`);
}

export async function collected(data: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of data) chunks.push(chunk);
  return Buffer.concat(chunks);
}
