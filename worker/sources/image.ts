// Base images: a reference, an OCI layout or a name of the local image store becomes manifest, config and layers.
// Layers need not be here yet: their ids follow from the diffIds in the config.

import { BuildError, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf, isDigest } from "../../solver/graph/digest.ts";
import type { Attrs, Platform } from "../../solver/graph/op.ts";
import { formatPlatform } from "../../solver/graph/op.ts";
import type { ImageConfig, LayerId } from "../../solver/graph/request.ts";
import type { ImageRecord, Store } from "../../cache/store.ts";
import type { Registry } from "../../cache/registry/client.ts";
import { loadImage, loadLayout, type LoadedImage, selectManifest } from "../../cache/registry/image.ts";
import {
  parseConfig,
  parseDocument,
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
} from "../../cache/registry/documents.ts";
import { formatReference, parseReference, withDefaultTag } from "../../cache/registry/reference.ts";

export interface SourceImage {
  readonly digest: Digest; // of what the reference stands for
  readonly config: Uint8Array;
  readonly layers: readonly LayerId[];
}

export interface ImageSource {
  /** identifier: docker-image://REF or oci-layout://PATH[:tag][@digest]. Records the layers; fetches no layer. */
  load(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    options: { readonly signal: AbortSignal },
  ): Promise<SourceImage>;
}

/** resolveMode: "default" takes a name of the local image store before the registry, "pull" always asks the registry. */
export function openImageSource(
  store: Store,
  registry: () => Promise<Registry>,
  resolveMode: "default" | "pull",
): ImageSource {
  const loaded = new Map<string, Promise<SourceImage>>();
  return {
    load(identifier, attrs, platform, options) {
      const key = JSON.stringify([identifier, attrs, formatPlatform(platform)]);
      const known = loaded.get(key);
      if (known !== undefined) return known;
      const task = read(identifier, platform, options.signal);
      loaded.set(key, task);
      task.catch(() => loaded.delete(key));
      return task;
    },
  };

  async function read(identifier: string, platform: Platform, signal: AbortSignal): Promise<SourceImage> {
    if (identifier.startsWith("oci-layout://")) {
      const { path, name } = splitLayout(identifier.slice("oci-layout://".length));
      return record(await loadLayout(path, name, store, platform, { signal }), identifier);
    }
    const text = identifier.replace(/^docker-image:\/\//, "");
    const reference = withDefaultTag(parseReference(text));
    const local = resolveMode === "default" ? localImage(formatReference(reference), platform) : null;
    if (local !== null) return local;
    return record(
      await loadImage(await registry(), store, reference, platform, { signal }),
      formatReference(reference),
    );
  }

  /** An image that was built or pulled here. A digest in the reference must be its own. */
  function localImage(name: string, platform: Platform): SourceImage | null {
    const [tagged, wanted] = name.split("@");
    const image = store.records.get<ImageRecord>("image", tagged ?? name);
    if (image === null || (wanted !== undefined && wanted !== image.target.digest)) return null;
    let descriptor = image.target;
    let document = parseDocument(
      store.content.read(descriptor.digest, MANIFEST_MAX_BYTES),
      descriptor.mediaType,
      name,
    );
    if (document.kind === "index") {
      const chosen = selectManifest(document, platform);
      if (chosen === null) return null;
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
    if (layers === undefined || layers.some((id) => store.layers.get(id) === null)) return null;
    return { digest: image.target.digest, config, layers };
  }

  function record(image: LoadedImage, name: string): SourceImage {
    const config = parseConfig(image.configBytes, image.layers.length, name);
    const layers = config.rootfs.diff_ids.map((diffId, index) => {
      const remote = image.layers[index];
      if (!isDigest(diffId) || remote === undefined) {
        throw new BuildError("IMAGE_INVALID", `${redactUrl(name)}: the config does not name its layers`);
      }
      const id = store.layers.idOf(diffId);
      const known = store.layers.get(id);
      const isNew =
        known === null ||
        !known.remotes.some(
          (one) => one.from === remote.from && one.descriptor.digest === remote.descriptor.digest,
        );
      if (isNew) {
        store.layers.update(id, {
          diffId,
          remotes: [remote, ...(known?.remotes ?? [])].slice(0, 8),
          description: known?.description || `layer ${index + 1} of ${name}`,
        });
      }
      return id;
    });
    return { digest: image.digest, config: image.configBytes, layers };
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

/** What pins a set of layers that has no digest of its own. */
export function layersDigest(layers: readonly LayerId[]): Digest {
  return digestOf(`tsbuild.layers.v1\0${layers.join("\0")}`);
}
