// The contract of the registry client: what it is opened with and what it does. Types only.

import type { Digest } from "../../solver/graph/digest.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Credentials, Session } from "../../solver/graph/session.ts";
import type { RangeLimits } from "./blob-range.ts";
import type { Places } from "./places.ts";
import type { Reference, Repository } from "./reference.ts";
import type { TransportOptions } from "./transport.ts";

export interface RegistryOptions extends TransportOptions {
  /** Credentials of a host (host[:port], docker.io for the Hub) or null. Asked only after a registry wants some. */
  readonly credentials: (host: string) => Promise<Credentials | null>;
  /** Tokens that are fetched elsewhere, in place of credentials; left out: none are. */
  readonly tokens?: NonNullable<Session["token"]>;
  /** Hosts whose certificate is not checked and which may speak plain http; this machine always may. */
  readonly insecureHosts?: readonly string[];
  /** Mirrors and other locations of repositories; omitted: there are none. See openPlaces. */
  readonly placesOf?: (repository: Repository) => Promise<Places>;
  /** Opens blobs that lie in no registry (build caches in object stores): see `Registry.elsewhere`. */
  readonly elsewhere?: Elsewhere;
  /** All attempts of a call that fetches or sends no blob; for tests. */
  readonly callTotalMs?: number;
  /** When large blobs come by several connections; for tests. */
  readonly ranges?: RangeLimits;
  /** Waiting between attempts; for tests. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface Fetched {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}

export interface SignalOptions {
  readonly signal: AbortSignal;
}

export interface TransferOptions extends SignalOptions {
  /** Bytes so far; may go back to 0 when a transfer starts again. */
  readonly onBytes?: (current: number, total: number) => void;
  /** The file of the store that the bytes are being written to, in order, by a call that fetches a blob into it itself. */
  readonly onFile?: (path: string) => void;
  /** See WaitOptions: another process fetches the same blob. */
  readonly onWait?: (holder: string) => void;
}

/** Bytes of a blob by its RemoteBlob.from, verified; null: that names nothing this knows of. Errors are those of a registry. */
export type Elsewhere = (
  from: string,
  descriptor: Descriptor,
  options: TransferOptions,
) => AsyncIterable<Uint8Array> | null;

/**
 * Errors of all functions: REGISTRY_NOT_FOUND, REGISTRY_DENIED, REGISTRY_UNREACHABLE (after bounded attempts),
 * REGISTRY_PROTOCOL, DIGEST_MISMATCH, IMAGE_INVALID; `signal.reason` when aborted.
 */
export interface Registry {
  /**
   * What a reference stands for: of a manifest or an index. A reference with a digest must stand for that. The answer for a tag
   * is the same for five minutes, or until it is put here.
   */
  resolve(reference: Reference, options: SignalOptions): Promise<Descriptor>;
  /** A manifest or index by digest (if the reference has one) or by tag, verified. At most 4 MiB. `noMirrors`: the registry itself is asked. */
  manifest(reference: Reference, options: SignalOptions & { readonly noMirrors?: boolean }): Promise<Fetched>;
  /** Bytes of a blob. Broken connections are resumed; size and digest are verified before the last chunk is over. */
  blob(repository: Repository, descriptor: Descriptor, options: TransferOptions): AsyncIterable<Uint8Array>;
  /** Blobs that lie in no registry. Without it, there are none. */
  readonly elsewhere?: Elsewhere;
  hasBlob(repository: Repository, digest: Digest, options: SignalOptions): Promise<boolean>;
  /** Bytes of a blob; null: it is not there. */
  blobSize(repository: Repository, digest: Digest, options: SignalOptions): Promise<number | null>;
  /**
   * Makes a blob be in a repository: found there, mounted from one of `mountFrom` (repositories of the same host), or
   * sent. `open` gives the bytes, maybe several times.
   */
  uploadBlob(
    repository: Repository,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    options: TransferOptions & { readonly mountFrom?: readonly string[] },
  ): Promise<"exists" | "mounted" | "uploaded">;
  /** Stores a manifest or index under a tag or its digest. `subject`: the registry lists it among the referrers of that (OCI-Subject). */
  putManifest(
    repository: Repository,
    name: string,
    bytes: Uint8Array,
    mediaType: string,
    options: SignalOptions,
  ): Promise<{ readonly subject: string | null }>;
  /** Is the manifest or index in the repository itself? Mirrors are not asked. */
  hasManifest(repository: Repository, digest: Digest, options: SignalOptions): Promise<boolean>;
  /** All tags of a repository, in the registry's order. Throws LIMIT_EXCEEDED when there is no end of them. */
  tags(repository: Repository, options: SignalOptions): Promise<readonly string[]>;
  /** Removes a manifest by its digest, or a tag. "unsupported": the registry refuses it as such (405, 400, 501). */
  remove(repository: Repository, name: string, options: SignalOptions): Promise<"removed" | "unsupported">;
  /** Manifests whose subject is that digest, as the registry lists them; null: it has no such list, or not of this repository. */
  referrers(
    repository: Repository,
    digest: Digest,
    options: SignalOptions,
  ): Promise<readonly Descriptor[] | null>;
  /** Does the registry of a host let the credentials in? Throws REGISTRY_DENIED when not. */
  login(host: string, options: SignalOptions): Promise<void>;
  /** Ends idle connections. */
  close(): void;
}
