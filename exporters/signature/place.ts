// Where an image and its signatures are: a repository of a registry, or an OCI layout.

import { closeSync } from "node:fs";
import { openDirectory } from "../../cache/outside.ts";
import { openLayout, REF_NAME } from "../../cache/registry/layout.ts";
import { MANIFEST_MAX_BYTES, parseDocument } from "../../cache/registry/documents.ts";
import { formatRepository, type Reference } from "../../cache/registry/reference.ts";
import { referrersTag } from "../../cache/registry/referrers.ts";
import { type Digest, isDigest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Registry } from "../../cache/registry/contract.ts";
import { outputError } from "../file-output.ts";
import { type LayoutAddition, writeIntoLayout } from "../layout-directory.ts";
import { pushReferrer, type Referrer } from "../referrers.ts";
import type { TagChange } from "./contract.ts";
import { updateTag } from "./update-tag.ts";

export interface SignaturePlace {
  /** What the user knows it as, for messages. */
  readonly shown: string;
  /** A manifest or index under a tag or a digest; null: it is not there. */
  manifest(name: string): Promise<{ readonly bytes: Uint8Array; readonly descriptor: Descriptor } | null>;
  /** Verified bytes of a blob. Throws LIMIT_EXCEEDED when it is larger than `maxBytes`. */
  blob(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array>;
  /** Artifacts about a manifest, as they are listed. */
  referrers(digest: Digest): Promise<readonly Descriptor[]>;
  /** Stores blobs and then their manifest under a tag. `change` gets the manifest that the tag stands for (null: there is none), and says
   *  null when there is nothing to do. It is asked again where others may have written at the same moment, until what it adds is there to
   *  stay. Throws REGISTRY_PROTOCOL when that does not come to an end, and what `change` throws. */
  update(tag: string, change: TagChange): Promise<void>;
  putReferrer(referrer: Referrer): Promise<void>;
}

interface Asking {
  readonly signal: AbortSignal;
}

/** More artifacts about one image than anybody has; each one is read. */
const REFERRERS_MAX = 256;

/** Errors of its functions are those of the client. */
export function registryPlace(registry: Registry, repository: Reference, { signal }: Asking): SignaturePlace {
  const shown = formatRepository(repository);
  const manifest: SignaturePlace["manifest"] = async (name) => {
    const at = isDigest(name) ? { tag: null, digest: name } : { tag: name, digest: null };
    const { askedAs: _asked, ...plain } = repository;
    return await orNull(["REGISTRY_NOT_FOUND"], () => registry.manifest({ ...plain, ...at }, { signal }));
  };
  return {
    shown,
    manifest,
    blob: (descriptor, maxBytes) =>
      collected(descriptor, maxBytes, shown, () => registry.blob(repository, descriptor, { signal })),
    async referrers(digest) {
      // Some registries deny what they do not know. What they do not list is not believed, so nothing is lost by that.
      const listed = await orNull(["REGISTRY_DENIED", "REGISTRY_PROTOCOL"], () =>
        registry.referrers(repository, digest, { signal }),
      );
      if (listed !== null) return bounded(listed, shown);
      const list = await manifest(referrersTag(digest));
      if (list === null) return [];
      const document = parseDocument(list.bytes, null, `${shown}:${referrersTag(digest)}`);
      return document.kind === "index" ? bounded(document.manifests, shown) : [];
    },
    update: (tag, change) => updateTag(registry, repository, tag, change, { signal }),
    putReferrer: (referrer) => pushReferrer(registry, repository, referrer, { signal }),
  };
}

/** A layout; one in a tar can only be read. Throws as openLayout. */
export function layoutPlace(path: string, { signal }: Asking): SignaturePlace {
  const shown = `the OCI layout ${path}`;
  const read = (descriptor: Pick<Descriptor, "digest" | "size">, maxBytes: number): Promise<Uint8Array> =>
    collected(descriptor, maxBytes, shown, () => openLayout(path).blob(descriptor, { signal }));
  const manifest: SignaturePlace["manifest"] = async (name) => {
    const { manifests } = openLayout(path).index;
    const tagged = manifests.find(({ annotations }) => annotations?.[REF_NAME] === name);
    const digest = isDigest(name) ? name : tagged?.digest;
    if (digest === undefined) return null;
    const bytes = await orNull(["IMAGE_UNKNOWN"], () =>
      read({ digest, size: MANIFEST_MAX_BYTES }, MANIFEST_MAX_BYTES),
    );
    if (bytes === null) return null;
    const { mediaType } = parseDocument(bytes, null, `${digest} in ${shown}`);
    return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
  };
  return {
    shown,
    manifest,
    blob: read,
    // A layout has no list of them: they are further entries of its index.
    async referrers(digest) {
      const artifacts = openLayout(path).index.manifests.filter(
        ({ artifactType }) => artifactType !== undefined,
      );
      const found: Descriptor[] = [];
      for (const one of bounded(artifacts, shown)) {
        const read = await manifest(one.digest);
        const document =
          read === null ? null : parseDocument(read.bytes, one.mediaType, `${one.digest} in ${shown}`);
        if (document?.kind === "manifest" && document.subject?.digest === digest) found.push(one);
      }
      return found;
    },
    async update(tag, change) {
      checkWritable(path);
      const added = async (): Promise<LayoutAddition | null> => {
        const next = change((await manifest(tag))?.bytes ?? null);
        if (next === null) return null;
        const { descriptor } = next.manifest;
        const entry = { ...descriptor, annotations: { ...descriptor.annotations, [REF_NAME]: tag } };
        return { documents: [...next.blobs, next.manifest], entries: [entry] };
      };
      await writeIntoLayout(path, added, signal);
    },
    async putReferrer({ blobs, manifest: artifact }) {
      checkWritable(path);
      const addition = { documents: [...blobs, artifact], entries: [artifact.descriptor] };
      await writeIntoLayout(path, async () => addition, signal);
    },
  };
}

/** Nothing is added to a layout in a tar. Throws OUTPUT_FAILED. */
function checkWritable(path: string): void {
  try {
    closeSync(openDirectory(path));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOTDIR") throw outputError(cause, path, null);
    throw new BuildError("OUTPUT_FAILED", `${path}: nothing can be added to a layout in a tar`, {
      cause,
      hint: "unpack it, or sign with the build: tsbuild build --sign key=… -o type=oci",
    });
  }
}

function bounded(all: readonly Descriptor[], shown: string): readonly Descriptor[] {
  if (all.length <= REFERRERS_MAX) return all;
  throw new BuildError("LIMIT_EXCEEDED", `${shown}: more than ${REFERRERS_MAX} artifacts refer to one image`);
}

async function collected(
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  maxBytes: number,
  shown: string,
  open: () => AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  if (size > maxBytes)
    throw new BuildError("LIMIT_EXCEEDED", `${shown}: the blob ${digest} is larger than ${maxBytes} bytes`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of open()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function orNull<T>(codes: readonly BuildError["code"][], work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BuildError && codes.includes(error.code)) return null;
    throw error;
  }
}
