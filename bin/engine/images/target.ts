// Where an image is copied to: a repository, a layout, an archive, the local store. What is there already is not moved.

import { closeSync } from "node:fs";
import { isBlobIn, openDirectory, openDirectoryIn, writeAll, writeWholeIn } from "../../../cache/outside.ts";
import { parseConfig, platformOfConfig } from "../../../cache/registry/documents.ts";
import { IMAGE_NAME, REF_NAME } from "../../../cache/registry/layout.ts";
import {
  familiarReference,
  formatReference,
  parseReference,
  type Reference,
} from "../../../cache/registry/reference.ts";
import { makeOutputDirectory, outputError, writeOutput, writeTo } from "../../../exporters/file-output.ts";
import { addToLayout } from "../../../exporters/layout-directory.ts";
import { archiveOf } from "../../../exporters/oci.ts";
import type { Destination } from "../../../exporters/output-grammar.ts";
import { type Digest, hexOf, isDigest } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { keepImage } from "../archives.ts";
import { normalizeNewName } from "../local-images.ts";
import type { Document, ImageAddress } from "./contract.ts";
import type { ImageDeps } from "./source.ts";
import type { Registry, TransferOptions } from "../../../cache/registry/contract.ts";

export type Moved = "exists" | "mounted" | "uploaded";

export interface SentBlob {
  readonly descriptor: Descriptor;
  readonly open: () => AsyncIterable<Uint8Array>;
  readonly mountFrom: readonly string[];
}

/** One image manifest that a target may have to know more of. */
export interface SentImage {
  readonly manifest: Document;
  readonly config: Document;
  readonly layers: readonly Descriptor[];
}

export interface ImageTarget {
  readonly shown: string;
  /** The repository; null: no registry. */
  readonly reference: Reference | null;
  /** Has it the manifest, and so all below it? */
  has(digest: Digest): Promise<boolean>;
  blob(blob: SentBlob, options: TransferOptions): Promise<Moved>;
  /** Of a child; the top comes with finish(). */
  manifest(document: Document): Promise<void>;
  /** Gives the image its name. `images`: those of it that are images. */
  finish(top: Document, images: readonly SentImage[]): Promise<void>;
}

/** Opens a destination. Throws USAGE, OUTPUT_INVALID. */
export async function openTarget(address: ImageAddress, deps: ImageDeps): Promise<ImageTarget> {
  const { parts, options } = deps;
  switch (address.kind) {
    case "registry":
      return registryTarget(address.reference, address.text, await parts.registry(options.session), options);
    case "layout":
      return layoutTarget(address.path, address.name, address.text, deps);
    case "archive":
      return archiveTarget(address, deps);
    case "local":
    case "name":
      return localTarget(normalizeNewName(address.name), address.text, deps);
  }
}

function registryTarget(
  reference: Reference,
  shown: string,
  registry: Registry,
  { signal }: { readonly signal: AbortSignal },
): ImageTarget {
  const repository = { ...reference, askedAs: shown };
  const put = async (name: string, { bytes, descriptor }: Document): Promise<void> => {
    await registry.putManifest(repository, name, bytes, descriptor.mediaType, { signal });
  };
  return {
    ...{ shown, reference },
    has: (digest) => registry.hasManifest(repository, digest, { signal }),
    blob: ({ descriptor, open, mountFrom }, options) =>
      registry.uploadBlob(repository, descriptor, open, { ...options, mountFrom }),
    manifest: (document) => put(document.descriptor.digest, document),
    async finish(top) {
      const { digest } = top.descriptor;
      if (reference.digest !== null && reference.digest !== digest)
        throw new BuildError("OUTPUT_INVALID", `${shown}: the image has another digest: ${digest}`, {
          hint: "give it a tag, or leave the digest out",
        });
      await put(reference.tag ?? digest, top);
    },
  };
}

function layoutTarget(
  path: string,
  tag: string | null,
  shown: string,
  { options: { signal }, scope }: ImageDeps,
): ImageTarget {
  makeOutputDirectory(path);
  const fds: number[] = [];
  scope.use({
    async [Symbol.asyncDispose]() {
      for (const fd of fds.splice(0)) closeSync(fd);
    },
  });
  const inWords = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw outputError(error, path, signal);
    }
  };
  /** Opened when the first blob comes. */
  const blobs = (): number => {
    const [known] = fds;
    if (known !== undefined) return known;
    const top = openDirectory(path);
    try {
      fds.push(openDirectoryIn(top, "blobs/sha256", { make: true }));
    } finally {
      closeSync(top);
    }
    return fds[0] as number;
  };
  const put = ({ bytes, descriptor }: Document): Promise<void> =>
    inWords(() => writeWholeIn(blobs(), hexOf(descriptor.digest), (fd) => writeAll(fd, bytes)));
  return {
    ...{ shown, reference: null },
    has: async () => false, // each blob is looked at: a layout may have lost some
    blob: ({ descriptor, open }) =>
      inWords(async () => {
        const name = hexOf(descriptor.digest);
        if (await isBlobIn(blobs(), name, descriptor, signal)) return "exists";
        await writeWholeIn(blobs(), name, (fd) => writeTo(fd, open(), signal));
        return "uploaded";
      }),
    manifest: put,
    async finish(top) {
      await put(top);
      const annotations = tag === null ? {} : { [REF_NAME]: tag };
      await addToLayout(path, { ...top.descriptor, annotations }, [], signal);
    },
  };
}

function archiveTarget(
  { format, path, name, text }: Extract<ImageAddress, { kind: "archive" }>,
  { options }: ImageDeps,
): ImageTarget {
  const blobs = new Map<Digest, SentBlob>();
  const documents = new Map<Digest, Document>();
  return {
    ...{ shown: text, reference: null },
    has: async () => false,
    async blob(blob) {
      blobs.set(blob.descriptor.digest, blob);
      return "uploaded";
    },
    async manifest(document) {
      documents.set(document.descriptor.digest, document);
    },
    async finish(top, images) {
      documents.set(top.descriptor.digest, top);
      const [image] = images;
      if (format === "docker" && (image === undefined || images.length > 1))
        throw new BuildError("OUTPUT_INVALID", `${text}: an archive of docker has one platform`, {
          hint: "choose it with --platform, or write an oci-archive:",
        });
      const named = name === null ? {} : format === "oci" ? { [REF_NAME]: name } : namesOf(name);
      const dockerEntry =
        format !== "docker" || image === undefined
          ? null
          : {
              config: image.config.descriptor.digest,
              layers: image.layers.map(({ digest }) => digest),
              names: name === null ? [] : [familiarReference(parseReference(name))],
            };
      const data = archiveOf({
        entry: { ...top.descriptor, annotations: named },
        documents: [...documents.values()],
        blobs: [...blobs.values()].map(({ descriptor, open }) => ({ descriptor, data: open })),
        docker: dockerEntry,
      });
      const { signal } = options;
      const dest: Destination = path === null ? { kind: "client", name: "archive" } : { kind: "path", path };
      await writeOutput(dest, data, { signal, client: options.session.outputs });
    },
  };
}

function namesOf(name: string): Record<string, string> {
  const reference = parseReference(name);
  return { [IMAGE_NAME]: formatReference(reference), [REF_NAME]: reference.tag ?? "latest" };
}

function localTarget(name: string, shown: string, { parts, lease }: ImageDeps): ImageTarget {
  const { store } = parts;
  const put = ({ bytes, descriptor }: Document): void => {
    lease.addBlobs([descriptor.digest]);
    store.content.put(bytes);
  };
  return {
    ...{ shown, reference: null },
    has: async () => false,
    async blob({ descriptor: { digest, size }, open }, { onBytes }) {
      lease.addBlobs([digest]);
      if (store.content.has(digest)) return "exists";
      await using ingest = store.content.ingest();
      let current = 0;
      for await (const chunk of open()) {
        ingest.write(chunk);
        current += chunk.length;
        onBytes?.(current, size);
      }
      ingest.commit({ digest, size, trusted: true }); // the reading side has hashed it
      return "uploaded";
    },
    manifest: async (document) => put(document),
    async finish(top, images) {
      put(top);
      if (images.length === 0)
        throw new BuildError("OUTPUT_INVALID", `${shown}: what was copied is not an image`);
      const platforms = images.map(({ manifest, config, layers }) => {
        put(config);
        const parsed = parseConfig(config.bytes, layers.length, `${shown}: ${config.descriptor.digest}`);
        const diffIds = parsed.rootfs.diff_ids.filter(isDigest);
        return { platform: manifest.descriptor.platform ?? platformOfConfig(parsed), diffIds, layers };
      });
      const { mediaType, digest, size } = top.descriptor;
      keepImage(store, lease, { target: { mediaType, digest, size }, platforms }, [name], name);
      await store.records.commit(); // before the lease ends
    },
  };
}
