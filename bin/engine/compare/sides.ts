// Opens what is to be compared: images of the store, of registries, of layouts and archives, and plain trees. Layers are fetched and packed
// only when they differ.

import { closeSync, fstatSync, mkdtempSync, readSync } from "node:fs";
import { join } from "node:path";
import { openGiven, openDirectory, openRegularIn } from "../../../cache/outside.ts";
import { detectCompression } from "../../../cache/layers/decompress.ts";
import {
  CONFIG_MAX_BYTES,
  MANIFEST_MAX_BYTES,
  parseConfig,
  parseDocument,
} from "../../../cache/registry/documents.ts";
import { takeArchive } from "../../../cache/registry/image-archive.ts";
import {
  loadImage,
  loadLayout,
  type LoadedImage,
  pullLayer,
  selectManifest,
} from "../../../cache/registry/image.ts";
import { openLayout } from "../../../cache/registry/layout.ts";
import { formatReference, parseReference, withDefaultTag } from "../../../cache/registry/reference.ts";
import { tarMembers } from "../../../cache/registry/tar-members.ts";
import { digestOf } from "../../../solver/graph/digest.ts";
import { BuildError } from "../../../solver/graph/error.ts";
import { formatPlatform } from "../../../solver/graph/op.ts";
import { hostPlatform } from "../../../solver/graph/platform.ts";
import type { Descriptor } from "../../../solver/graph/request.ts";
import { plainArchive } from "../archives.ts";
import type { ImageSide, Side, SideLayer, Subject } from "./contract.ts";
import { openDirTree } from "./dir-tree.ts";
import { openLocalSide } from "./local-side.ts";
import { readBuiltFrom } from "./built-from.ts";
import { openStoredLayer, type SideDeps } from "./stored-layer.ts";
import { openTarTree } from "./tar-tree.ts";

/** Throws IMAGE_UNKNOWN, IMAGE_INVALID, PLATFORM_UNSUPPORTED, CONTEXT_MISSING, REGISTRY_*. */
export async function openSide(subject: Subject, deps: SideDeps): Promise<Side> {
  switch (subject.kind) {
    case "image":
      return await openNamed(subject, deps);
    case "layout":
      return await openLayoutSide(subject.shown, subject.path, subject.name, deps);
    case "path":
      return await openPath(subject.shown, subject.path, deps);
  }
}

async function openNamed(
  { shown, reference, from }: Extract<Subject, { kind: "image" }>,
  deps: SideDeps,
): Promise<Side> {
  if (from !== "registry") {
    try {
      return await openLocalSide(shown, reference, deps);
    } catch (error) {
      if (from === "store" || !(error instanceof BuildError) || error.code !== "IMAGE_UNKNOWN") throw error;
      if (/^(?:sha256:)?[a-f0-9]{64}$/.test(reference)) throw error; // an ID, which is no name
    }
  }
  const { parts, lease, options, platform } = deps;
  const named = withDefaultTag(parseReference(reference));
  const registry = await parts.registry(options.session);
  const loaded = await loadImage(registry, parts.store, named, platform ?? hostPlatform(), {
    signal: options.signal,
    lease,
  });
  return await imageSide(shown, loaded, deps, async (descriptor) => {
    // Attestations are documents beside the image.
    const { bytes } = await registry.manifest({ ...named, tag: null, digest: descriptor.digest }, options);
    parts.store.content.put(bytes);
    const document = parseDocument(bytes, null, formatReference(named));
    if (document.kind !== "manifest") return;
    const blobs = document.layers.map((one) => ({
      descriptor: one,
      from: formatReference({ ...named, tag: null, digest: null }),
    }));
    lease.addBlobs([descriptor.digest, ...blobs.map((one) => one.descriptor.digest)]);
    for (const blob of blobs) await pullLayer(blob, parts.store, registry, options);
  });
}

/** A platform that is asked for, this machine's, or the only one there is. */
async function loadFrom(
  path: string,
  name: string | null,
  { parts, lease, options, platform }: SideDeps,
): Promise<LoadedImage> {
  const how = { signal: options.signal, lease };
  try {
    return await loadLayout(path, name, parts.store, platform ?? hostPlatform(), how);
  } catch (error) {
    if (platform !== null || !(error instanceof BuildError) || error.code !== "PLATFORM_UNSUPPORTED")
      throw error;
    const top = openLayout(path).find(name);
    const document = parseDocument(
      parts.store.content.read(top.digest, MANIFEST_MAX_BYTES),
      top.mediaType,
      path,
    );
    const offered =
      document.kind === "index" ? document.manifests.filter((one) => one.platform?.os !== "unknown") : [];
    const [only] = offered;
    if (offered.length !== 1 || only?.platform === undefined) throw error;
    return await loadLayout(path, name, parts.store, only.platform, how);
  }
}

async function openLayoutSide(
  shown: string,
  path: string,
  name: string | null,
  deps: SideDeps,
): Promise<ImageSide> {
  const loaded = await loadFrom(path, name, deps);
  return await imageSide(shown, loaded, deps, async (descriptor) => {
    const { parts, lease, options } = deps;
    const from = `oci-layout:${path}`;
    lease.addBlobs([descriptor.digest]);
    await pullLayer({ descriptor, from }, parts.store, NO_REGISTRY, options);
    const document = parseDocument(
      parts.store.content.read(descriptor.digest, MANIFEST_MAX_BYTES),
      null,
      path,
    );
    if (document.kind !== "manifest") return;
    lease.addBlobs(document.layers.map(({ digest }) => digest));
    for (const one of document.layers)
      await pullLayer({ descriptor: one, from }, parts.store, NO_REGISTRY, options);
  });
}

/** Of layouts, whose blobs are files. */
const NO_REGISTRY = null as never;

/** `fetchStatement`: puts an attestation's manifest and its statements into the store. */
async function imageSide(
  shown: string,
  loaded: LoadedImage,
  deps: SideDeps,
  fetchStatement: (descriptor: Descriptor) => Promise<void>,
): Promise<ImageSide> {
  const { parts, lease, options } = deps;
  const config = parseConfig(loaded.configBytes, loaded.layers.length, shown);
  const { os, architecture, variant } = config;
  const index = parts.store.content.read(loaded.digest, MANIFEST_MAX_BYTES);
  return {
    kind: "image",
    shown,
    digest: loaded.manifestDescriptor.digest,
    configDigest: loaded.manifest.config.digest,
    config,
    platform: loaded.manifestDescriptor.platform ?? { os, architecture, ...(variant ? { variant } : {}) },
    layers: loaded.layers.map(
      (remote, at): SideLayer => ({
        diffId: config.rootfs.diff_ids[at] ?? "",
        digest: remote.descriptor.digest,
        async open({ signal }) {
          lease.addBlobs([remote.descriptor.digest]);
          // A layout's blob is copied into the store as a registry's is: both are checked on the way.
          const registry = remote.from.startsWith("oci-layout:")
            ? NO_REGISTRY
            : await parts.registry(options.session);
          await pullLayer(remote, parts.store, registry, { signal });
          return await openStoredLayer(
            shown,
            remote.descriptor.digest,
            config.rootfs.diff_ids[at] ?? null,
            deps,
            signal,
          );
        },
      }),
    ),
    provenance: () => readBuiltFrom(parts.store, index, loaded.manifestDescriptor.digest, fetchStatement),
  };
}

/** A layout, an archive of images, a tar of files, or a directory. */
async function openPath(shown: string, path: string, deps: SideDeps): Promise<Side> {
  const { parts, options } = deps;
  const { store } = parts;
  switch (kindOf(path)) {
    case "layout":
      return await openLayoutSide(shown, path, null, deps);
    case "directory":
      return { kind: "tree", shown, open: (how) => openDirTree(path, how) };
    case "file":
      break;
  }
  const plain = await plainArchive(store, path, options.signal);
  switch (archiveKind(plain)) {
    case "layout":
      return await openLayoutSide(shown, plain, null, deps);
    case "docker":
      return await openDockerArchive(shown, plain, deps);
    case "tree": {
      const tempDir = (): string => mkdtempSync(join(store.tempDir(), "compare-"));
      return {
        kind: "tree",
        shown,
        open: ({ signal }) => openTarTree(plain, { signal, shown, diffId: null, tempDir }),
      };
    }
  }
}

function kindOf(path: string): "layout" | "directory" | "file" {
  let fd: number;
  try {
    fd = openGiven(path);
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const why = isMissing ? "no such file or directory" : (cause as Error).message;
    throw new BuildError("CONTEXT_MISSING", `cannot open ${path}: ${why}`, { cause });
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFile()) return "file";
    if (!stat.isDirectory())
      throw new BuildError("FILE_INVALID", `${path} is neither a file nor a directory`);
  } finally {
    closeSync(fd);
  }
  const directory = openDirectory(path);
  try {
    const marker = openRegularIn(directory, "oci-layout");
    if (marker !== null) closeSync(marker);
    return marker === null ? "directory" : "layout";
  } catch {
    return "directory"; // what has the name is no file
  } finally {
    closeSync(directory);
  }
}

function archiveKind(path: string): "layout" | "docker" | "tree" {
  const fd = openGiven(path);
  try {
    const head = Buffer.alloc(512);
    const count = readSync(fd, head, 0, 512, 0);
    if (count < 512 || detectCompression(head) !== "none")
      throw new BuildError("ARCHIVE_INVALID", `${path} is neither an archive of images nor a tar of files`);
    const members = tarMembers(fd);
    if (members.find("index.json") !== null && members.find("oci-layout") !== null) return "layout";
    return members.find("manifest.json") === null ? "tree" : "docker";
  } finally {
    closeSync(fd);
  }
}

/** docker save of before 25, podman, kaniko. */
async function openDockerArchive(shown: string, path: string, deps: SideDeps): Promise<ImageSide> {
  const { parts, lease, options, platform } = deps;
  const { content } = parts.store;
  const images = await takeArchive(path, parts.store, { signal: options.signal, lease, onBytes: () => {} });
  const [image, more] = images;
  if (image === undefined || more !== undefined)
    throw new BuildError(
      "IMAGE_INVALID",
      `${shown} has ${images.length} images, and one is compared at a time`,
      {
        hint: "load it with 'tsbuild load' and give the names of images",
      },
    );
  let { target } = image;
  let document = parseDocument(content.read(target.digest, MANIFEST_MAX_BYTES), target.mediaType, shown);
  if (document.kind === "index") {
    const wanted = platform ?? hostPlatform();
    const chosen = selectManifest(document, wanted);
    if (chosen === null)
      throw new BuildError("PLATFORM_UNSUPPORTED", `${shown} has no image for ${formatPlatform(wanted)}`);
    target = chosen;
    document = parseDocument(content.read(target.digest, MANIFEST_MAX_BYTES), target.mediaType, shown);
  }
  if (document.kind !== "manifest")
    throw new BuildError("IMAGE_INVALID", `${shown} is not an archive of an image`);
  const config = parseConfig(
    content.read(document.config.digest, CONFIG_MAX_BYTES),
    document.layers.length,
    shown,
  );
  const { os, architecture } = config;
  return {
    kind: "image",
    shown,
    digest: null, // the manifest was made for the store
    configDigest: document.config.digest,
    config,
    platform: { os, architecture },
    provenance: null,
    layers: document.layers.map(({ digest }, at) => ({
      diffId: config.rootfs.diff_ids[at] ?? digestOf(""),
      digest,
      open: ({ signal }) => openStoredLayer(shown, digest, config.rootfs.diff_ids[at] ?? null, deps, signal),
    })),
  };
}
