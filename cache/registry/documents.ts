// Untrusted manifests, indexes and configs: limits first, then schema, then use. Bytes stay as received.

import { isDigest } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { Descriptor, ImageConfig } from "../../solver/graph/request.ts";

/** image-spec media-types.md, and Docker's schema 2 equivalents. */
export const MEDIA_TYPES = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
} as const;

/** distribution spec, "Pulling manifests": registries may refuse more, so nothing larger is in use. */
export const MANIFEST_MAX_BYTES: number = 4 << 20;
/** Configs hold history and labels; moby's limit is 8 MiB. */
export const CONFIG_MAX_BYTES: number = 8 << 20;
const DESCRIPTORS_MAX = 4096;
const NESTING_MAX = 32;

export interface Manifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Of an artifact: what it is. */
  readonly artifactType?: string;
  /** What it is about (image-spec manifest.md, "subject"). */
  readonly subject?: Descriptor;
}
export interface Index {
  readonly kind: "index";
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === MEDIA_TYPES.ociManifest || mediaType === MEDIA_TYPES.dockerManifest;
}
export function isIndexType(mediaType: string): boolean {
  return mediaType === MEDIA_TYPES.ociIndex || mediaType === MEDIA_TYPES.dockerIndex;
}

/**
 * Reads a manifest or index. It must be exactly one of the two, and its shape, its own `mediaType` and the stated
 * type (content type or descriptor; null: nothing was stated) must agree. Throws IMAGE_INVALID; `name` is for messages.
 */
export function parseDocument(bytes: Uint8Array, statedType: string | null, name: string): Manifest | Index {
  const json = parseJson(bytes, MANIFEST_MAX_BYTES, name);
  if (json["schemaVersion"] === 1 || json["fsLayers"] !== undefined) {
    throw invalid(
      name,
      "it is a manifest of Docker's schema 1, which is not supported",
      "push the image again with a current tool",
    );
  }
  if (json["schemaVersion"] !== 2) throw invalid(name, "schemaVersion is not 2");
  const hasManifests = json["manifests"] !== undefined;
  // CVE-2021-41190: a document that is both would be read as one by the checker and as the other by the user.
  if (hasManifests && (json["config"] !== undefined || json["layers"] !== undefined)) {
    throw invalid(name, "it is both a manifest and an index");
  }
  const own = json["mediaType"];
  if (own !== undefined && typeof own !== "string") throw invalid(name, "mediaType is not a string");
  const isType = hasManifests ? isIndexType : isManifestType;
  const kind = hasManifests ? "index" : "manifest";
  for (const type of [own, statedType]) {
    if (typeof type === "string" && type !== "" && !isType(type)) {
      throw invalid(
        name,
        `its content is that of an ${kind === "index" ? "index" : "image manifest"}, but its type is ${printable(type, 100)}`,
      );
    }
  }
  if (own && statedType && own !== statedType) {
    throw invalid(
      name,
      `its type is ${printable(own, 100)}, but it was served as ${printable(statedType, 100)}`,
    );
  }
  const mediaType = own || statedType || (hasManifests ? MEDIA_TYPES.ociIndex : MEDIA_TYPES.ociManifest);
  const annotations = textMap(json["annotations"], name);
  if (hasManifests) {
    return { kind: "index", mediaType, manifests: descriptors(json["manifests"], name), annotations };
  }
  const { artifactType, subject } = json;
  return {
    kind: "manifest",
    mediaType,
    config: parseDescriptor(json["config"], name),
    layers: descriptors(json["layers"], name),
    annotations,
    ...(typeof artifactType === "string" && artifactType !== "" ? { artifactType } : {}),
    ...(subject === undefined || subject === null ? {} : { subject: parseDescriptor(subject, name) }),
  };
}

/**
 * Reads an image config of which `layerCount` layers are known to exist. Checked: os, architecture, rootfs, history and the
 * types of all fields that are used. Throws IMAGE_INVALID. The value is for reading; what is stored are the bytes.
 */
export function parseConfig(
  bytes: Uint8Array,
  layerCount: number | null,
  name: string,
): ImageConfig & { readonly rootfs: { readonly diff_ids: string[] } } {
  const json = parseJson(bytes, CONFIG_MAX_BYTES, name);
  for (const field of ["os", "architecture", "variant", "created", "author", "os.version"]) {
    const value = json[field];
    if (value !== undefined && value !== null && typeof value !== "string")
      throw invalid(name, `${field} is not a string`);
  }
  const rootfs = objectOf(json["rootfs"] ?? {}, "rootfs", name);
  const diffIds = rootfs["diff_ids"] ?? [];
  if (!Array.isArray(diffIds) || diffIds.length > DESCRIPTORS_MAX)
    throw invalid(name, "rootfs.diff_ids is not a list");
  for (const id of diffIds) {
    if (typeof id !== "string" || !isDigest(id))
      throw invalid(name, "rootfs.diff_ids has an entry that is not a sha256 digest");
  }
  if (layerCount !== null && diffIds.length !== layerCount) {
    throw invalid(name, `its manifest has ${layerCount} layers, but its config has ${diffIds.length}`);
  }
  const history = json["history"] ?? [];
  if (!Array.isArray(history)) throw invalid(name, "history is not a list");
  for (const entry of history) objectOf(entry, "a history entry", name);
  const config = objectOf(json["config"] ?? {}, "config", name);
  for (const [field, type] of CONFIG_FIELDS) {
    const value = config[field];
    if (value !== undefined && value !== null && !TYPES[type](value))
      throw invalid(name, `config.${field} is not ${type}`);
  }
  return {
    ...(json as unknown as ImageConfig),
    os: (json["os"] as string | undefined) ?? "",
    architecture: (json["architecture"] as string | undefined) ?? "",
    config: config as ImageConfig["config"],
    history: history as ImageConfig["history"],
    rootfs: { type: "layers", diff_ids: diffIds as string[] },
  };
}

const isText = (value: unknown): value is string => typeof value === "string";
const TYPES = {
  text: isText,
  "a list of strings": (value: unknown) => Array.isArray(value) && value.every(isText),
  "a map of strings": (value: unknown) => isObject(value) && Object.values(value).every(isText),
  "a map": (value: unknown) => isObject(value),
} as const;
const CONFIG_FIELDS: readonly (readonly [string, keyof typeof TYPES])[] = [
  ["User", "text"],
  ["WorkingDir", "text"],
  ["StopSignal", "text"],
  ["Env", "a list of strings"],
  ["Entrypoint", "a list of strings"],
  ["Cmd", "a list of strings"],
  ["Shell", "a list of strings"],
  ["OnBuild", "a list of strings"],
  ["Labels", "a map of strings"],
  ["ExposedPorts", "a map"],
  ["Volumes", "a map"],
  ["Healthcheck", "a map"],
];

/** The platform an image config states. */
export function platformOfConfig(config: ImageConfig): Platform {
  return {
    os: config.os,
    architecture: config.architecture,
    ...(config.variant ? { variant: config.variant } : {}),
    ...(config["os.version"] ? { osVersion: config["os.version"] } : {}),
  };
}

function descriptors(value: unknown, name: string): readonly Descriptor[] {
  if (value === null || value === undefined) return []; // Go writes null for an empty list
  if (!Array.isArray(value)) throw invalid(name, "a list of descriptors is not a list");
  if (value.length > DESCRIPTORS_MAX) throw invalid(name, `more than ${DESCRIPTORS_MAX} descriptors`);
  return value.map((item) => parseDescriptor(item, name));
}

function parseDescriptor(value: unknown, name: string): Descriptor {
  const json = objectOf(value, "a descriptor", name);
  const { mediaType, digest, size } = json;
  if (typeof mediaType !== "string") throw invalid(name, "a descriptor has no media type");
  if (typeof digest !== "string" || !isDigest(digest))
    throw invalid(name, "a descriptor has no sha256 digest");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
    throw invalid(name, "a descriptor has no size");
  const annotations = textMap(json["annotations"], name);
  const { artifactType } = json;
  const platform =
    json["platform"] === undefined || json["platform"] === null
      ? null
      : parsePlatform(json["platform"], name);
  return {
    mediaType,
    digest,
    size,
    ...(platform === null ? {} : { platform }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(typeof artifactType === "string" && artifactType !== "" ? { artifactType } : {}),
  };
}

function parsePlatform(value: unknown, name: string): Platform {
  const json = objectOf(value, "a platform", name);
  const text = (field: string) => {
    const found = json[field] ?? "";
    if (typeof found !== "string") throw invalid(name, `platform.${field} is not a string`);
    return found;
  };
  return {
    os: text("os"),
    architecture: text("architecture"),
    ...(text("variant") === "" ? {} : { variant: text("variant") }),
    ...(text("os.version") === "" ? {} : { osVersion: text("os.version") }),
  };
}

function textMap(value: unknown, name: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  const json = objectOf(value, "annotations", name);
  if (!Object.values(json).every(isText)) throw invalid(name, "an annotation is not a string");
  return json as Record<string, string>;
}

function parseJson(bytes: Uint8Array, maxBytes: number, name: string): Record<string, unknown> {
  if (bytes.length > maxBytes) throw invalid(name, `a document of more than ${maxBytes} bytes`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalid(name, "not UTF-8", null, cause);
  }
  // JSON.parse has no limit of depth of its own; the parsed value would be walked by recursion elsewhere.
  if (depthOf(text) > NESTING_MAX) throw invalid(name, "JSON nested too deeply");
  let json: unknown;
  try {
    json = JSON.parse(text, (key, value: unknown) => (key === "__proto__" ? undefined : value));
  } catch (cause) {
    throw invalid(name, "not JSON", null, cause);
  }
  return objectOf(json, "the document", name);
}

/** One pass: an expression for texts would start again at every quote of one that has no end (threat model D1). */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let isText = false;
  for (let at = 0; at < text.length; at++) {
    const sign = text.charCodeAt(at);
    if (isText && sign === BACKSLASH) at++;
    else if (sign === QUOTE) isText = !isText;
    else if (!isText && (sign === OPEN_LIST || sign === OPEN_OBJECT)) deepest = Math.max(deepest, ++depth);
    else if (!isText && (sign === CLOSE_LIST || sign === CLOSE_OBJECT)) depth--;
  }
  return deepest;
}
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

function objectOf(value: unknown, what: string, name: string): Record<string, unknown> {
  if (!isObject(value)) throw invalid(name, `${what} is not a JSON object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(name: string, problem: string, hint: string | null = null, cause?: unknown): BuildError {
  return new BuildError("IMAGE_INVALID", `${name}: ${problem}`, { hint, cause });
}
