// Build caches of a request: their location and format. cache-flags.ts parses --cache-from and --cache-to into these.
// Secrets are functions, so that no printed or stored request contains them.

import type { S3Credentials } from "../../cache/remote-cache/s3-calls.ts";
import type { CacheForm } from "../../exporters/cache-export.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { WritableBlobs } from "../../solver/graph/session.ts";

/** Where a cache lies. */
export type CacheLocation =
  | { readonly kind: "registry"; readonly ref: string; readonly insecure: boolean }
  | { readonly kind: "local"; readonly path: string; readonly tag: string; readonly digest: Digest | null }
  | ClientLocation
  | S3Location
  | AzureLocation
  | GhaLocation;

/** A directory of a client that is somewhere else. */
export interface ClientLocation {
  readonly kind: "client";
  /** As the client calls it. */
  readonly name: string;
  /** What keeps the caches of clients apart. */
  readonly domain: string;
  /** Of the manifest to be read, which the client has looked up. */
  readonly digest: Digest | null;
  readonly blobs: () => WritableBlobs;
}

export interface S3Location {
  readonly kind: "s3";
  readonly bucket: string;
  readonly region: string;
  readonly prefix: string;
  readonly blobsPrefix: string;
  readonly manifestsPrefix: string;
  readonly names: readonly string[];
  /** null: Amazon's own. */
  readonly endpoint: string | null;
  readonly usePathStyle: boolean;
  readonly uploadsAtOnce: number;
  readonly touchRefreshMs: number;
  /** null: those of the environment. */
  readonly credentials: () => S3Credentials | null;
}

/** A container of Azure Blob Storage. */
export interface AzureLocation {
  readonly kind: "azblob";
  /** Of the account, without what signs. */
  readonly account: string;
  readonly accountName: string;
  readonly container: string;
  readonly prefix: string;
  readonly blobsPrefix: string;
  readonly manifestsPrefix: string;
  readonly names: readonly string[];
  readonly uploadsAtOnce: number;
  /** The query of a shared access signature; "": none. */
  readonly sas: () => string;
  /** The account's key; null: none. */
  readonly key: () => string | null;
}

export interface GhaLocation {
  readonly kind: "gha";
  readonly scope: string;
  /** null: neither in the attributes nor in the environment. */
  readonly service: { readonly version: 1 | 2; readonly url: string; readonly token: () => string } | null;
  readonly timeoutMs: number;
  /** Lists existing entries with GitHub's API. */
  readonly listing: {
    readonly repository: string;
    readonly url: string;
    readonly token: () => string;
  } | null;
}

export interface CacheFrom {
  readonly at: CacheLocation;
  /** Also imports contents of cache mounts. */
  readonly mounts: boolean;
}

export type CacheTo =
  | {
      readonly kind: "place";
      readonly at: CacheLocation;
      readonly form: CacheForm;
      /** Also exports contents of cache mounts. */
      readonly mounts: boolean;
      /** A failed export is a warning. */
      readonly ignoreError: boolean;
    }
  | { readonly kind: "inline" };

/** Display name of a cache: its full reference, or its directory. */
export function nameOfLocation(at: CacheLocation): string {
  switch (at.kind) {
    case "registry":
      return at.ref;
    case "local":
      return `${at.path}:${at.digest ?? at.tag}`;
    case "client":
      return at.name;
    case "s3":
      return `s3://${at.bucket}/${at.prefix}${at.manifestsPrefix}${at.names[0]}`;
    case "azblob":
      return `azblob:${at.account.replace(/\/$/, "")}/${at.container}/${at.prefix} ${at.names[0]}`;
    case "gha":
      return `gha:${at.scope}`;
  }
}

/** Why type=gha does not work here: problem and hint. */
export const WITHOUT_SERVICE: readonly [string, string] = [
  "type=gha only works in GitHub Actions: the URL or token of its cache service is missing",
  "set ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL (crazy-max/ghaction-github-runtime exposes them to a job's steps), or use url_v2= and token=",
];
