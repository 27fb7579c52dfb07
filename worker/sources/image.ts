// Base images: resolves a reference, an OCI layout or a name of the local image store to manifest, config and layers.
// Layers need not be local yet: their ids follow from the diffIds in the config.

import { realpathSync } from "node:fs";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import type { Attrs, Platform } from "../../solver/graph/op.ts";
import { formatPlatform, formatPlatformAll } from "../../solver/graph/op.ts";
import { isBaseLayer, type Descriptor, type ImageConfig, type LayerId } from "../../solver/graph/request.ts";
import { openAnswers } from "../../solver/graph/tasks.ts";
import { type Claims, withRemote } from "../../cache/claims.ts";
import { IMAGE_SPACE, isNameless } from "../../cache/image-record.ts";
import {
  blobBytes,
  loadBlobs,
  loadImage,
  loadLayout,
  type LoadedImage,
  selectManifest,
} from "../../cache/registry/image.ts";
import {
  parseConfig,
  parseDocument,
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
} from "../../cache/registry/documents.ts";
import {
  formatReference,
  formatRepository,
  parseReference,
  withDefaultTag,
} from "../../cache/registry/reference.ts";
import type { ClientBlobs, RemoteBlobs, Session } from "../../solver/graph/session.ts";
import type { Registry, TransferOptions } from "../../cache/registry/contract.ts";
import type { ImageRecord, RemoteBlob, Store } from "../../cache/contract.ts";
import type { AdmitImage } from "../contract.ts";
import { asElsewhere } from "./elsewhere.ts";
import { digestIn, layerLimitIn } from "./attributes.ts";

export interface SourceImage {
  readonly digest: Digest; // of what the reference stands for
  /** Of the manifest of its platform: the same, or in the index that `digest` is. */
  readonly manifest: Digest;
  readonly config: Uint8Array;
  readonly layers: readonly LayerId[];
  /** The registry of the reference is not known to have this digest. */
  readonly isPrivate: boolean;
}

export interface ImageSource {
  /** identifier: docker-image://REF (or, for an image of the local store without a name, its ID), oci-layout://STORE[:tag][@digest], where
   *  the attribute oci.store may name the store instead: one of the client's. Records the layers; fetches no layer. Throws
   *  SOURCE_FAILED for attributes that cannot be meant, CHECKSUM_MISMATCH. */
  load(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    options: { readonly signal: AbortSignal; readonly session?: Session },
  ): Promise<SourceImage>;
  /** Bytes of a layer that a client serves, verified; null: it is somewhere else. */
  blob(remote: RemoteBlob, options: TransferOptions): AsyncIterable<Uint8Array> | null;
  /** Is what `RemoteBlob.from` says a client's, which is there only as long as this build? */
  isOfClient(from: string): boolean;
}

/** Begins what is said of where a client's blobs are, which is no repository (isRepository). Never stored: the next build has another client. */
const CLIENT_PREFIX = "client-blobs://";
/** Where names of images are looked up: "default" in the local image store before the registry, "pull" always in the registry, "registry" the same
 *  where the local store has nothing to do with what is asked for, and so is not in errors either. */
export type ResolveMode = "default" | "pull" | "registry";
const RECORD_TYPES: readonly string[] = ["", "regular", "internal", "frontend"];

/** The reference of an image as it was written. */
function textOf(identifier: string): string {
  return identifier.replace(/^docker-image:\/\//, "");
}

/** What the images say of their layers goes to `claims`.
 *  `admit`: asked about each image that is loaded. */
export function openImageSource(
  store: Store,
  registry: () => Promise<Registry>,
  resolveMode: ResolveMode,
  claims: Claims,
  admit: AdmitImage | null = null,
): ImageSource {
  const loaded = openAnswers<SourceImage>();
  const clients = new Map<string, RemoteBlobs>();
  return {
    load(identifier, attrs, platform, { signal: asking, session = null }) {
      const key = JSON.stringify([identifier, attrs, formatPlatformAll(platform)]);
      return loaded.share(key, asking, async (signal) => {
        const isLayout = identifier.startsWith("oci-layout://");
        const limit = layerLimitIn(attrs, isLayout ? "oci.layerlimit" : "image.layerlimit");
        const image = isLayout
          ? await readLayout(identifier, attrs, platform, { signal, session })
          : await readReference(identifier, attrs, platform, signal);
        const digests = [...new Set([image.digest, image.manifest])];
        await admit?.(
          identifier,
          {
            digests,
            layout: isLayout ? await layoutOf(identifier, attrs, signal, session) : null,
            isTagged: () => standsFor(identifier, image.digest, signal),
          },
          { signal },
        );
        return limit === null ? image : firstLayers(image, limit, identifier);
      });
    },
    blob(remote, options) {
      const blobs = clients.get(remote.from);
      return blobs === undefined ? null : blobBytes(blobs, remote.descriptor, options);
    },
    isOfClient: (from) => from.startsWith(CLIENT_PREFIX),
  };

  async function readLayout(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    { signal, session }: { readonly signal: AbortSignal; readonly session: Session | null },
  ): Promise<SourceImage> {
    const { path, name } = splitLayout(identifier.slice("oci-layout://".length));
    const blobs = await storeOf(session, attrs["oci.store"] || path, attrs["oci.session"] ?? "", signal);
    if (blobs.kind === "here")
      return record(await loadLayout(blobs.path, name, store, platform, { signal }), identifier);
    if (name === null || !isDigest(name)) {
      throw new BuildError(
        "SOURCE_FAILED",
        `${identifier}: an image in a store of the client is asked for by its digest`,
        {
          hint: "oci-layout://NAME@sha256:…",
        },
      );
    }
    const from = `${CLIENT_PREFIX}${clients.size}`;
    clients.set(from, blobs);
    const where = { name: identifier, from, digest: name };
    return record(await loadBlobs(blobs, where, store, platform, { signal }), identifier);
  }

  /** Path of a layout on this machine, without links, as policies know it; null: a client has it. */
  async function layoutOf(
    identifier: string,
    attrs: Attrs,
    signal: AbortSignal,
    session: Session | null,
  ): Promise<string | null> {
    const { path } = splitLayout(identifier.slice("oci-layout://".length));
    const blobs = await storeOf(session, attrs["oci.store"] || path, attrs["oci.session"] ?? "", signal);
    return blobs.kind === "here" ? realpathSync(blobs.path) : null;
  }

  /** Does the tag of a reference stand for the digest, here or in its registry? The registry's answer is the one that the build had. */
  async function standsFor(identifier: string, digest: Digest, signal: AbortSignal): Promise<boolean> {
    const reference = { ...withDefaultTag(parseReference(textOf(identifier))), digest: null };
    if (reference.tag === null) return false;
    const local = store.records.get<ImageRecord>(IMAGE_SPACE, formatReference(reference));
    if (resolveMode === "default" && local?.target.digest === digest) return true;
    try {
      return (await (await registry()).resolve(reference, { signal })).digest === digest;
    } catch (error) {
      if (signal.aborted || !(error instanceof BuildError)) throw error;
      return false;
    }
  }

  async function readReference(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    signal: AbortSignal,
  ): Promise<SourceImage> {
    const wanted = digestIn(attrs, "image.checksum");
    if (!RECORD_TYPES.includes(attrs["image.recordtype"] ?? ""))
      throw new BuildError(
        "SOURCE_FAILED",
        `invalid record type ${printable(attrs["image.recordtype"] ?? "")}`,
      );
    const image = await read(identifier, platform, modeIn(attrs, resolveMode), signal);
    if (wanted === null || image.digest === wanted) return image;
    throw new BuildError(
      "CHECKSUM_MISMATCH",
      `image digest ${image.digest} for ${textOf(identifier)} does not match expected checksum ${wanted}`,
    );
  }

  async function read(
    identifier: string,
    platform: Platform,
    mode: ResolveMode,
    signal: AbortSignal,
  ): Promise<SourceImage> {
    const text = textOf(identifier);
    if (isNameless(text)) {
      const image = localImage(text, platform);
      if (image !== null) return image;
      throw new BuildError(
        "IMAGE_UNKNOWN",
        `${text} is not in the local store for ${formatPlatform(platform)}`,
      );
    }
    const reference = withDefaultTag(parseReference(text));
    const name = formatReference(reference);
    const local = mode === "default" ? localOrLost(name, platform) : null;
    if (local !== null && !(local instanceof BuildError)) return local;
    try {
      return record(await loadImage(await registry(), store, reference, platform, { signal }), name);
    } catch (error) {
      if (signal.aborted) throw error;
      if (mode === "registry") throw error;
      if (local === null) {
        const { withLocalImages } = await import("../../cache/near-image.ts");
        throw withLocalImages(error, store, name, platform, { isSkipped: mode === "pull" });
      }
      throw new BuildError(local.code, local.message, {
        cause: local,
        hint: `build or pull ${name} again`,
      });
    }
  }

  /** One whose documents are damaged may be had from the registry again (threat model R3); the error, to be told if it may not. */
  function localOrLost(name: string, platform: Platform): SourceImage | BuildError | null {
    try {
      return localImage(name, platform);
    } catch (error) {
      if (error instanceof BuildError && error.code === "STORE_CORRUPT") return error;
      throw error;
    }
  }

  /** An image that was built or pulled here. A digest in the reference must be its own. */
  function localImage(name: string, platform: Platform): SourceImage | null {
    const image = findName(name);
    if (image === null) return null;
    let descriptor = image.target;
    let document = parseDocument(
      store.content.read(descriptor.digest, MANIFEST_MAX_BYTES),
      descriptor.mediaType,
      name,
    );
    if (document.kind === "index") {
      const chosen = selectManifest(document, platform);
      if (chosen === null || !store.content.has(chosen.digest)) return null; // of a platform that was never pulled
      descriptor = chosen;
      document = parseDocument(store.content.read(chosen.digest, MANIFEST_MAX_BYTES), chosen.mediaType, name);
    }
    if (document.kind !== "manifest") return null;
    const config = store.content.read(document.config.digest, CONFIG_MAX_BYTES);
    const { os, architecture } = JSON.parse(new TextDecoder().decode(config)) as ImageConfig;
    if (os !== platform.os || architecture !== platform.architecture) return null;
    const layers =
      image.layers[formatPlatform(platform)] ??
      Object.entries(image.layers).find(
        ([key]) => key === `${os}/${architecture}` || key.startsWith(`${os}/${architecture}/`),
      )?.[1];
    if (layers === undefined) return null;
    // What was loaded has its layers from the blobs of its own manifest, which outlive a lost database.
    const blobs = document.layers;
    const isHere = (id: LayerId, at: number): boolean =>
      store.layers.get(id) !== null ||
      (isBaseLayer(id) && store.content.has((blobs[at] as Descriptor).digest));
    if (layers.length !== blobs.length || !layers.every(isHere)) return null;
    const [from] = image.confirmed ?? [];
    const { diff_ids: diffIds } = parseConfig(config, document.layers.length, name).rootfs;
    const known = asElsewhere({ name, layers, diffIds, blobs }, store.layers, store.content);
    document.layers.forEach((descriptor, index) => {
      const id = known[index] as LayerId;
      // A manifest that never left this store names the plain tars of its layers, whether anybody has them or not.
      const isBlob = store.layers.idOf(descriptor.digest) !== id || store.content.has(descriptor.digest);
      if (store.layers.get(id) === null)
        store.layers.update(id, { diffId: `sha256:${id.slice(2)}` as Digest });
      if (isBaseLayer(id) && isBlob)
        claims.add([id], [{ descriptor, ...(from === undefined ? {} : { from }) }]);
    });
    const isPrivate = image.confirmed?.includes(formatRepository(parseReference(name))) !== true;
    return { digest: image.target.digest, manifest: descriptor.digest, config, layers: known, isPrivate };
  }

  /** The image of a name; of a name with a digest any of that repository that has it. */
  function findName(name: string): ImageRecord | null {
    const exact = store.records.get<ImageRecord>(IMAGE_SPACE, name);
    const at = name.indexOf("@");
    if (at < 0) return exact;
    const wanted = name.slice(at + 1);
    if (exact?.target.digest === wanted) return exact;
    const tagged = store.records.get<ImageRecord>(IMAGE_SPACE, name.slice(0, at));
    if (tagged?.target.digest === wanted) return tagged;
    const repository = formatRepository(parseReference(name));
    for (const { key, value } of store.records.entries<ImageRecord>(IMAGE_SPACE)) {
      const isOfIt = key.startsWith(`${repository}:`) || key.startsWith(`${repository}@`);
      if (isOfIt && value.target.digest === wanted) return value;
    }
    return null;
  }

  function record(image: LoadedImage, name: string): SourceImage {
    const config = parseConfig(image.configBytes, image.layers.length, name);
    const layers = config.rootfs.diff_ids.map((diffId, index) => {
      const remote = image.layers[index];
      if (!isDigest(diffId) || remote === undefined) {
        throw new BuildError("IMAGE_INVALID", `${redactUrl(name)}: the config does not list its layers`);
      }
      const id = store.layers.idOf(diffId);
      const known = store.layers.get(id);
      const remotes = remote.from.startsWith(CLIENT_PREFIX) ? null : withRemote(known, remote);
      if (remotes !== null || known?.diffId !== diffId) {
        store.layers.update(id, {
          diffId,
          ...(remotes === null ? {} : { remotes }),
          description: known?.description || `layer ${index + 1} of ${name}`,
        });
      }
      return id;
    });
    claims.add(layers, image.layers);
    const { digest, manifestDescriptor, configBytes } = image;
    return { digest, manifest: manifestDescriptor.digest, config: configBytes, layers, isPrivate: false };
  }
}

/** The store of a client, maybe in another session of it. Throws CONTEXT_MISSING. */
export async function storeOf(
  session: Session | null,
  store: string,
  id: string,
  signal: AbortSignal,
): Promise<ClientBlobs> {
  const other = id === "" ? null : ((await session?.other?.(id, { signal })) ?? null);
  const blobs = await (other ?? session)?.blobs?.(store);
  if (blobs !== undefined) return blobs;
  throw new BuildError(
    "CONTEXT_MISSING",
    `the client serves no OCI layout: ${printable(store)} was asked for`,
  );
}

/** "local" has the store of this machine before the registry, as "default" has it here. */
function modeIn(attrs: Attrs, usual: ResolveMode): ResolveMode {
  const mode = attrs["image.resolvemode"] ?? "";
  if (mode === "" || mode === "default") return usual;
  if (mode === "pull") return "pull";
  if (mode === "local") return "default";
  throw new BuildError("SOURCE_FAILED", `invalid resolvemode: ${printable(mode)}`);
}

function firstLayers(image: SourceImage, limit: number, name: string): SourceImage {
  if (limit <= image.layers.length) return { ...image, layers: image.layers.slice(0, limit) };
  throw new BuildError(
    "SOURCE_FAILED",
    `layer limit ${limit} is greater than the number of layers in the image ${image.layers.length} (${redactUrl(name)})`,
  );
}

/** "PATH[:tag][@digest]"; a colon counts as the tag's only behind the last slash. */
function splitLayout(text: string): { path: string; name: string | null } {
  const at = text.lastIndexOf("@");
  if (at >= 0 && isDigest(text.slice(at + 1))) {
    const rest = text.slice(0, at);
    const colon = rest.lastIndexOf(":");
    return { path: colon > rest.lastIndexOf("/") ? rest.slice(0, colon) : rest, name: text.slice(at + 1) };
  }
  const colon = text.lastIndexOf(":");
  if (colon > text.lastIndexOf("/")) return { path: text.slice(0, colon), name: text.slice(colon + 1) };
  return { path: text, name: null };
}

/** What an image is to the cache: the chain of its diffIds, whatever its layers are called here. Of a layer that was made here only
 *  what was measured counts. */
export function imageDigest(layers: readonly LayerId[], store: Pick<Store, "layers">): Digest {
  return layersDigest(
    layers.map((id) => {
      const diffId = id.startsWith("r-") ? (store.layers.get(id)?.diffId ?? null) : null;
      return diffId === null ? id : store.layers.idOf(diffId);
    }),
  );
}

/** What pins a set of layers that has no digest of its own. */
export function layersDigest(layers: readonly LayerId[]): Digest {
  return digestOf(`tsbuild.layers.v1\0${layers.join("\0")}`);
}
