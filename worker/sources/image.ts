// Base images: resolves a reference, an OCI layout or a name of the local image store to manifest, config and layers.
// Layers need not be local yet: their ids follow from the diffIds in the config.

import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import type { Attrs, Platform } from "../../solver/graph/op.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import { isBaseLayer, type Descriptor, type ImageConfig, type LayerId } from "../../solver/graph/request.ts";
import { openAnswers } from "../../solver/graph/tasks.ts";
import { type Claims, withRemote } from "../../cache/claims.ts";
import { IMAGE_SPACE, isNameless } from "../../cache/image-record.ts";
import { loadImage, loadLayout, type LoadedImage, selectManifest } from "../../cache/registry/image.ts";
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
import type { Registry } from "../../cache/registry/contract.ts";
import type { ImageRecord, Store } from "../../cache/contract.ts";

export interface SourceImage {
  readonly digest: Digest; // of what the reference stands for
  readonly config: Uint8Array;
  readonly layers: readonly LayerId[];
  /** The registry of the reference is not known to have this digest. */
  readonly isPrivate: boolean;
}

export interface ImageSource {
  /** identifier: docker-image://REF (or, for an image of the local store without a name, its ID), oci-layout://PATH[:tag][@digest]. Records the layers; fetches no layer. */
  load(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    options: { readonly signal: AbortSignal },
  ): Promise<SourceImage>;
}

/** What the images say of their layers goes to `claims`. resolveMode: "default" takes a name of the local image store before the registry, "pull" always asks the registry. */
export function openImageSource(
  store: Store,
  registry: () => Promise<Registry>,
  resolveMode: "default" | "pull",
  claims: Claims,
): ImageSource {
  const loaded = openAnswers<SourceImage>();
  return {
    load(identifier, attrs, platform, options) {
      const key = JSON.stringify([identifier, attrs, formatPlatform(platform)]);
      return loaded.share(key, options.signal, (signal) => read(identifier, platform, signal));
    },
  };

  async function read(identifier: string, platform: Platform, signal: AbortSignal): Promise<SourceImage> {
    if (identifier.startsWith("oci-layout://")) {
      const { path, name } = splitLayout(identifier.slice("oci-layout://".length));
      return record(await loadLayout(path, name, store, platform, { signal }), identifier);
    }
    const text = identifier.replace(/^docker-image:\/\//, "");
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
    const local = resolveMode === "default" ? localOrLost(name, platform) : null;
    if (local !== null && !(local instanceof BuildError)) return local;
    try {
      return record(await loadImage(await registry(), store, reference, platform, { signal }), name);
    } catch (error) {
      if (signal.aborted) throw error;
      if (local === null) {
        const { withLocalImages } = await import("../../cache/near-image.ts");
        throw withLocalImages(error, store, name, platform, { isSkipped: resolveMode === "pull" });
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
    const known = asElsewhere(layers, parseConfig(config, document.layers.length, name), name);
    document.layers.forEach((descriptor, index) => {
      const id = known[index] as LayerId;
      // A manifest that never left this store names the plain tars of its layers, whether anybody has them or not.
      const isBlob = store.layers.idOf(descriptor.digest) !== id || store.content.has(descriptor.digest);
      if (store.layers.get(id) === null)
        store.layers.update(id, { diffId: `sha256:${id.slice(2)}` as Digest });
      const [from] = image.confirmed ?? [];
      if (isBaseLayer(id) && isBlob)
        claims.add([id], [{ descriptor, ...(from === undefined ? {} : { from }) }]);
    });
    const isPrivate = image.confirmed?.includes(formatRepository(parseReference(name))) !== true;
    return { digest: image.target.digest, config, layers: known, isPrivate };
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

  /** Layers that were made here under the names that they have where the image is pulled: what is built on the image is then the
   *  same to the cache, and leaves with the same base. */
  function asElsewhere(
    layers: readonly LayerId[],
    { rootfs }: ImageConfig,
    name: string,
  ): readonly LayerId[] {
    const diffIds = rootfs?.diff_ids ?? [];
    if (diffIds.length !== layers.length) return layers;
    return layers.map((made, index) => {
      const diffId = diffIds[index] as Digest;
      const id = store.layers.idOf(diffId);
      const record = made.startsWith("r-") ? store.layers.get(made) : null;
      if (record === null) return made;
      // Noted once more where need be: the layer of the note may be gone.
      if (record.unpacked && store.layers.made(id) === null)
        store.layers.update(made, { diffId: record.diffId });
      const found = store.layers.made(id);
      if (found === null) return made; // promised by a cache, and not here yet
      if (store.layers.get(id)?.diffId === diffId) return id;
      const times = found.epochSeconds === null ? "" : `epoch=${found.epochSeconds}`;
      const tarBytes = found.record.tarBytes?.[times];
      store.layers.update(id, {
        diffId,
        ...(tarBytes === undefined ? {} : { tarBytes: { "": tarBytes } }),
        description: `layer ${index + 1} of ${name}`,
      });
      return id;
    });
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
      const remotes = withRemote(known, remote);
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
    return { digest: image.digest, config: image.configBytes, layers, isPrivate: false };
  }
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
