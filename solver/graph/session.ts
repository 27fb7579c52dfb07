// What the client of a build provides: its files, secrets, agents and credentials, and where outputs go. Direct calls when the client is
// this machine's user, messages when it is somewhere else; nothing here says which.

import type { Digest } from "./digest.ts";

/** The client of one request. */
export interface Session {
  /** The directory behind `local://name`. Rejects with CONTEXT_MISSING. */
  files(name: string): Promise<ClientFiles>;
  /** Content of a secret, or null when there is none of that id. */
  secret(id: string): Promise<Uint8Array | null>;
  /** Path on this machine of an agent socket (or null) for an ssh id; "default" when the Dockerfile names none. */
  sshSocket(id: string): Promise<string | null>;
  /** Credentials for one registry host (host[:port]), or null: anonymous. */
  credentials(host: string): Promise<Credentials | null>;
  /** A token of a registry's token service, which the client has fetched with credentials of its own; null: it fetches none, and credentials()
   *  counts. Left out: it never does. Throws REGISTRY_DENIED. */
  readonly token?: (
    wish: TokenWish,
    options: { readonly signal: AbortSignal },
  ) => Promise<ClientToken | null>;
  /** A store of blobs that the client serves, by its id: where oci-layout:// is. Left out: it serves none. Rejects with CONTEXT_MISSING. */
  readonly blobs?: (store: string) => Promise<ClientBlobs>;
  /** What the client sends under an address of its own, whose host is UPLOAD_HOST: once. Left out: nothing. */
  readonly upload?: (url: URL, options: { readonly signal: AbortSignal }) => AsyncIterable<Uint8Array>;
  /** Another session of the same client, or null when there is none of that id: the build's own serves then. Left out: there are no others. */
  readonly other?: (id: string, options: { readonly signal: AbortSignal }) => Promise<Session | null>;
  /** Takes outputs whose destination is the client; null: it takes none (its standard output is a terminal). */
  readonly outputs: ClientOutputs | null;
}

/** Host of the addresses under which a client sends files: BuildKit, session/upload. */
export const UPLOAD_HOST = "buildkit-session";

/** Limit on one secret, as BuildKit has it. */
export const SECRET_MAX_BYTES: number = 500 * 1024;

export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "identity-token"; readonly token: string }
  | { readonly kind: "registry-token"; readonly token: string };

/** What a token is for, in the words of the registry's challenge. */
export interface TokenWish {
  readonly host: string;
  readonly realm: string;
  readonly service: string;
  readonly scopes: readonly string[];
}

export interface ClientToken {
  readonly token: string;
  /** How long it is valid from now on; null: not known. */
  readonly seconds: number | null;
}

/** A directory of the client. "here": on this machine, where it is read in place (absolute path). "elsewhere": what is needed of it is
 *  copied into the store, and the copy is brought up to date for each build. */
export type ClientFiles = { readonly kind: "here"; readonly path: string } | RemoteFiles;

export interface RemoteFiles {
  readonly kind: "elsewhere";
  /** Identifies the directory and the client between builds: only the differences to an earlier copy with that key are sent. It has to be bound to
   *  the client's identity (or be a secret of it): whoever uses it and guesses size, mode and time of a file gets the file's content. */
  readonly key: string;
  /** Begins to send what `rules` select. The caller disposes the transfer. */
  open(rules: FileRules, options: { readonly signal: AbortSignal }): Promise<FileTransfer>;
}

/** A store of the client. "here": an OCI layout on this machine (absolute path, or one relative to the working directory). */
export type ClientBlobs = { readonly kind: "here"; readonly path: string } | RemoteBlobs;

/** Blobs by their digests; what comes is compared by who asks. */
export interface RemoteBlobs {
  readonly kind: "elsewhere";
  /** Bytes of a blob; null: it is not there. */
  size(digest: Digest, options: { readonly signal: AbortSignal }): Promise<number | null>;
  read(digest: Digest, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
}

/** A store of the client that is written, too. */
export interface WritableBlobs extends RemoteBlobs {
  /** Makes a blob be there; true: its bytes were sent. */
  write(
    blob: { readonly digest: Digest; readonly size: number },
    open: () => AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal },
  ): Promise<boolean>;
}

/** Which files of a directory are wanted: those that `includes` or `follow` select (all, if both are empty) and `excludes` does not hide. */
export interface FileRules {
  /** Patterns in moby's patternmatcher syntax (.dockerignore). */
  readonly includes: readonly string[];
  readonly excludes: readonly string[];
  /** Paths, each with what the links on its way lead to: BuildKit's followpaths. */
  readonly follow: readonly string[];
}

/** One transfer of files, in two phases, as fsutil has it: the whole listing, then contents. */
export interface FileTransfer extends AsyncDisposable {
  /** All but the directory itself: parents before children, names of one directory in the order of their bytes; several at once, as they come.
   *  To be read once, to its end. */
  listing(): AsyncIterable<readonly FileEntry[]>;
  /** Contents of regular files by their position in the listing (from 0): file by file in the order asked, each with its pieces and then
   *  null; several at once. A file that has vanished is empty. To be called once, after the listing. */
  contents(wanted: readonly number[]): AsyncIterable<readonly FilePiece[]>;
}

/** One entry of a listing. fsutil's Stat. */
export interface FileEntry {
  readonly path: string; // relative, "/" between names; bytes that are no UTF-8 cannot be sent
  /** hardlink: another name of an earlier file or FIFO. Other kinds (sockets, devices) are left out. */
  readonly type: "file" | "directory" | "symlink" | "hardlink" | "fifo" | "other";
  readonly mode: number; // permission, set-id and sticky bits
  readonly size: number; // bytes
  readonly mtimeNs: bigint;
  readonly linkName: string; // symlink: its text; hardlink: the path of the earlier file; else ""
}

export interface FilePiece {
  readonly index: number;
  readonly data: Uint8Array | null;
}

/** Outputs that are sent to the client. `name`: that of the destination, "-" for standard output. */
export interface ClientOutputs {
  /** Sends one file. Resolves when the client has all of it, or wants no more of it; throws OUTPUT_FAILED. `about`: what the exporter says of
   *  it, told before its first byte. */
  file(
    name: string,
    data: AsyncIterable<Uint8Array>,
    options: { readonly signal: AbortSignal; readonly about?: Readonly<Record<string, string>> },
  ): Promise<void>;
  /** The store for the blobs of an image layout, whose index the client writes itself. Left out: it takes none. */
  readonly layout?: (name: string) => WritableBlobs;
  /** Sends what is in a directory of this machine. */
  directory(name: string, path: string, options: { readonly signal: AbortSignal }): Promise<void>;
}
