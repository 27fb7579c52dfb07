// Parses --cache-from and --cache-to: CSV of key=value as in buildx, with the attributes of BuildKit's caches.
// docs: https://docs.docker.com/build/cache/backends/

import { resolve } from "node:path";
import { levelFault } from "../cache/layers/levels.ts";
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.ts";
import type { CacheForm } from "../exporters/cache-export.ts";
import { LAYER_COMPRESSIONS } from "../exporters/output-grammar.ts";
import { isDigest } from "../solver/graph/digest.ts";
import { type Attributes, readAttributes } from "./cache-attributes.ts";
import { readAzure, readGha, readS3 } from "./cache-flags-objects.ts";
import {
  type CacheFrom,
  type CacheLocation,
  type CacheTo,
  WITHOUT_SERVICE,
} from "./engine/cache-location.ts";
import type { Environment } from "./engine/config.ts";

const TYPES = "registry, local, inline, s3, azblob and gha";

/** A directory of type=local as the place of a cache. */
export type DirectoryAt = (
  found: Pick<Extract<CacheLocation, { kind: "local" }>, "path" | "tag" | "digest">,
) => CacheLocation;

const directoryAt =
  (cwd: string): DirectoryAt =>
  ({ path, ...rest }) => ({ kind: "local", path: resolve(cwd, path), ...rest });

/** One --cache-from; a reference alone is type=registry. Paths are made absolute. null: it asks for nothing. Throws USAGE. */
export function parseCacheFrom(text: string, cwd: string, env: Environment): CacheFrom | null {
  return cacheFromOf(readAttributes(text, "cache-from"), directoryAt(cwd), env);
}

/** The same with attributes that were read already; `directory`: where a directory is. */
export function cacheFromOf(
  attributes: Attributes,
  directory: DirectoryAt,
  env: Environment,
): CacheFrom | null {
  const type = attributes.take("type") ?? "";
  // The reference of an inline cache is that of an image, and images are checked.
  if (type === "inline" && !attributes.has("ref")) return null;
  const from: CacheFrom = {
    at: location(type === "inline" ? "registry" : type, "src", attributes, directory, env),
    mounts: attributes.boolean("mounts") ?? true,
  };
  attributes.done();
  return from;
}

/** One --cache-to. Throws USAGE, also for type=gha outside of GitHub Actions. */
export function parseCacheTo(text: string, cwd: string, env: Environment): CacheTo {
  return cacheToOf(readAttributes(text, "cache-to"), directoryAt(cwd), env);
}

/** The same with attributes that were read already. */
export function cacheToOf(attributes: Attributes, directory: DirectoryAt, env: Environment): CacheTo {
  const type = attributes.take("type") ?? "";
  const ignoreError = attributes.boolean("ignore-error") ?? false;
  if (type === "inline") {
    attributes.take("mode");
    attributes.done();
    return { kind: "inline" };
  }
  const at = location(type, "dest", attributes, directory, env);
  if (at.kind === "gha" && at.service === null && !ignoreError) throw attributes.wrong(...WITHOUT_SERVICE);
  const form: CacheForm = {
    mode: attributes.choice("mode", ["min", "max"]) ?? "min",
    compression: attributes.choice("compression", LAYER_COMPRESSIONS) ?? "gzip",
    compressionLevel: attributes.integer("compression-level"),
    forceCompression: attributes.boolean("force-compression") ?? false,
    ociTypes: attributes.boolean("oci-mediatypes") ?? true,
    imageManifest: attributes.boolean("image-manifest") ?? true,
  };
  const { compression, compressionLevel } = form;
  const levelProblem = compressionLevel === null ? null : levelFault(compression, compressionLevel);
  if (levelProblem !== null) throw attributes.wrong(levelProblem);
  if (form.imageManifest && !form.ociTypes) {
    throw attributes.wrong(
      "oci-mediatypes=false requires image-manifest=false: Docker manifests can only describe images",
    );
  }
  const mounts = attributes.boolean("mounts") ?? false;
  attributes.done();
  return { kind: "place", at, form, mounts, ignoreError };
}

function location(
  type: string,
  pathName: "src" | "dest",
  attributes: Attributes,
  directory: DirectoryAt,
  env: Environment,
): CacheLocation {
  switch (type) {
    case "registry": {
      const ref = attributes.take("ref");
      if (ref === null || ref === "") throw attributes.wrong("type=registry requires ref=NAME");
      return {
        kind: "registry",
        ref: formatReference(withDefaultTag(parseReference(ref))),
        insecure: attributes.boolean("registry.insecure") ?? false,
      };
    }
    case "local": {
      const path = attributes.take(pathName);
      if (path === null || path === "") throw attributes.wrong(`type=local requires ${pathName}=DIRECTORY`);
      const digest = pathName === "src" ? attributes.take("digest") : null;
      if (digest !== null && !isDigest(digest))
        throw attributes.wrong(`digest=${digest} is not a sha256 digest`);
      if (pathName === "dest") attributes.take("reset"); // for the client, who keeps the index
      return directory({ path, tag: attributes.take("tag") || "latest", digest });
    }
    case "s3":
      return readS3(attributes, env);
    case "azblob":
      return readAzure(attributes, env);
    case "gha":
      return readGha(attributes, env);
    case "":
      throw attributes.wrong("a type is required", `known are ${TYPES}`);
    default:
      throw attributes.wrong(`unknown type "${type}"`, `available are ${TYPES}`);
  }
}
