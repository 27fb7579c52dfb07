// The words of --cache-from and --cache-to: CSV of key=value as buildx reads it, with the attributes of BuildKit's caches.
// docs: https://docs.docker.com/build/cache/backends/

import { resolve } from "node:path";
import { formatReference, parseReference, withDefaultTag } from "../cache/registry/reference.ts";
import type { CacheForm } from "../exporters/cache-export.ts";
import { type Digest, isDigest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import { parseCsv } from "./flags-values.ts";

/** Where a cache lies. */
export type CacheLocation =
  | { readonly kind: "registry"; readonly ref: string; readonly insecure: boolean }
  | { readonly kind: "local"; readonly path: string; readonly tag: string; readonly digest: Digest | null };

export interface CacheFrom {
  readonly at: CacheLocation;
  /** Contents of cache mounts are taken, too. */
  readonly mounts: boolean;
}

export type CacheTo =
  | {
      readonly kind: "place";
      readonly at: CacheLocation;
      readonly form: CacheForm;
      /** Contents of cache mounts go along. */
      readonly mounts: boolean;
      /** A failed export is a warning. */
      readonly ignoreError: boolean;
    }
  | { readonly kind: "inline" };

const BOOLEANS = new Map([
  ...["1", "t", "true", ""].map((text) => [text, true] as const),
  ...["0", "f", "false"].map((text) => [text, false] as const),
]);
const TYPES = "registry, local and inline";
const ELSEWHERE = ["gha", "s3", "azblob"];

/** One --cache-from; a reference alone is type=registry. Paths are made absolute. null: it asks for nothing. Throws USAGE. */
export function parseCacheFrom(text: string, cwd: string): CacheFrom | null {
  const attributes = read(text, "cache-from");
  const type = attributes.take("type") ?? "";
  // The reference of an inline cache is that of an image, and images are looked into.
  if (type === "inline" && !attributes.has("ref")) return null;
  const from: CacheFrom = {
    at: location(type === "inline" ? "registry" : type, "src", attributes, cwd),
    mounts: attributes.boolean("mounts") ?? true,
  };
  attributes.done();
  return from;
}

/** One --cache-to. Throws USAGE. */
export function parseCacheTo(text: string, cwd: string): CacheTo {
  const attributes = read(text, "cache-to");
  const type = attributes.take("type") ?? "";
  const ignoreError = attributes.boolean("ignore-error") ?? false;
  if (type === "inline") {
    attributes.take("mode");
    attributes.done();
    return { kind: "inline" };
  }
  const at = location(type, "dest", attributes, cwd);
  const form: CacheForm = {
    mode: attributes.choice("mode", ["min", "max"]) ?? "min",
    compression: attributes.choice("compression", ["gzip", "zstd", "uncompressed"]) ?? "gzip",
    compressionLevel: attributes.integer("compression-level"),
    forceCompression: attributes.boolean("force-compression") ?? false,
    ociTypes: attributes.boolean("oci-mediatypes") ?? true,
    imageManifest: attributes.boolean("image-manifest") ?? true,
  };
  if (form.imageManifest && !form.ociTypes) {
    throw attributes.wrong(
      "oci-mediatypes=false needs image-manifest=false: Docker's manifests hold images only",
    );
  }
  const mounts = attributes.boolean("mounts") ?? false;
  attributes.done();
  return { kind: "place", at, form, mounts, ignoreError };
}

/** What people know a cache by: its full reference, or its directory. */
export function nameOfLocation(at: CacheLocation): string {
  return at.kind === "registry" ? at.ref : `${at.path}:${at.digest ?? at.tag}`;
}

function location(
  type: string,
  pathName: "src" | "dest",
  attributes: Attributes,
  cwd: string,
): CacheLocation {
  switch (type) {
    case "registry": {
      const ref = attributes.take("ref");
      if (ref === null || ref === "") throw attributes.wrong("type=registry needs ref=NAME");
      return {
        kind: "registry",
        ref: formatReference(withDefaultTag(parseReference(ref))),
        insecure: attributes.boolean("registry.insecure") ?? false,
      };
    }
    case "local": {
      const path = attributes.take(pathName);
      if (path === null || path === "") throw attributes.wrong(`type=local needs ${pathName}=DIRECTORY`);
      const digest = pathName === "src" ? attributes.take("digest") : null;
      if (digest !== null && !isDigest(digest))
        throw attributes.wrong(`digest=${digest} is no sha256 digest`);
      return { kind: "local", path: resolve(cwd, path), tag: attributes.take("tag") || "latest", digest };
    }
    case "":
      throw attributes.wrong("it needs a type", `known are ${TYPES}`);
    default:
      throw attributes.wrong(
        ELSEWHERE.includes(type) ? `type=${type} is not available` : `unknown type "${type}"`,
        `available are ${TYPES}`,
      );
  }
}

interface Attributes {
  has(name: string): boolean;
  take(name: string): string | null;
  boolean(name: string): boolean | null;
  integer(name: string): number | null;
  choice<T extends string>(name: string, choices: readonly T[]): T | null;
  /** Whatever has not been taken is unknown. */
  done(): void;
  wrong(problem: string, hint?: string): BuildError;
}

function read(text: string, flag: string): Attributes {
  const wrong = (problem: string, hint: string | null = null): BuildError =>
    new BuildError("USAGE", `--${flag}=${text}: ${problem}`, { hint });
  const fields = parseCsv(text);
  const values = new Map<string, string>();
  // buildx: a value without "=" in any field is a list of references; one reference is what makes sense.
  if (fields.length === 1 && !text.includes("=")) {
    values.set("type", "registry").set("ref", text);
  } else {
    for (const field of fields) {
      const at = field.indexOf("=");
      if (at < 0) throw wrong(`"${field}" is not KEY=VALUE`);
      values.set(field.slice(0, at).toLowerCase(), field.slice(at + 1));
    }
  }
  const take = (name: string): string | null => {
    const value = values.get(name) ?? null;
    values.delete(name);
    return value;
  };
  return {
    has: (name) => values.has(name),
    take,
    wrong,
    boolean(name) {
      const value = take(name);
      if (value === null) return null;
      const known = BOOLEANS.get(value.toLowerCase());
      if (known === undefined) throw wrong(`${name}=${value} is neither true nor false`);
      return known;
    },
    integer(name) {
      const value = take(name);
      if (value === null || value === "") return null;
      if (!/^-?\d{1,4}$/.test(value)) throw wrong(`${name}=${value} is no number`);
      return Number(value);
    },
    choice(name, choices) {
      const value = take(name);
      if (value === null || value === "") return null;
      const known = choices.find((choice) => choice === value);
      if (known === undefined) throw wrong(`${name}=${value} is not one of ${choices.join(", ")}`);
      return known;
    },
    done() {
      const [unknown] = values.keys();
      if (unknown !== undefined) throw wrong(`unknown attribute "${unknown}"`);
    },
  };
}
