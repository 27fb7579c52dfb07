// The contract between exporters and the engine: what an export is given and what comes of it. Types only.

import type { RemoteBlob, Store } from "../cache/contract.ts";
import type { Descriptor, LayerId } from "../solver/graph/request.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Emit } from "../solver/graph/event.ts";
import type { ClientOutputs } from "../solver/graph/session.ts";
import type { LayerCompression, Output } from "./output-grammar.ts";
import type { Report } from "./shown.ts";
import type { Signing } from "./signature/contract.ts";
import type { Registry } from "../cache/registry/contract.ts";
import type { Repository } from "../cache/registry/reference.ts";

/** One tree to be written out. */
export interface FilesTree {
  readonly layers: readonly LayerId[]; // oldest first; empty: an empty tree
  /** Folder inside of the output, "linux_amd64"; null: its top. */
  readonly folder: string | null;
  /** What messages call it: "linux/amd64". */
  readonly name: string;
  /** Files in its root that no layer has, with mode 600. */
  readonly more: readonly { readonly name: string; readonly data: Uint8Array }[];
}

export interface FilesJob {
  readonly trees: readonly FilesTree[];
  readonly form: "tar" | "directory";
  /** tar: a file that does not exist yet. directory: one that exists; what is in it stays, unless it is overwritten. */
  readonly dest: string;
  /** What the user calls it, in messages; null: `dest` is a temporary file. */
  readonly output: string | null;
  /** Times are at most this, in seconds; null: as they are. */
  readonly epochSeconds: number | null;
}

/** Writes trees; returns the bytes of the tar or of all files. They belong to the caller's user where it may not give them their owner. */
export type FilesKeeper = (job: FilesJob, options: { readonly signal: AbortSignal }) => Promise<number>;

/** Digests of all regular files of a tree, in the order of a walk by bytes. */
export type FileDigests = (
  layers: readonly LayerId[],
  options: { readonly signal: AbortSignal },
) => Promise<readonly Subject[]>;

/** The requested format of a layer. */
export interface LayerVariant {
  readonly compression: LayerCompression;
  readonly level: number | null;
  /** Exactly this compression is required; otherwise a base layer may keep its own. */
  readonly force: boolean;
  /** Clamps file times to this, in seconds; null: unchanged. */
  readonly epochSeconds: number | null;
  /** A layer of the base image: its content, and without `force` its blob, stay unchanged. */
  readonly pinned: boolean;
  /** A layer without a blob is described by its uncompressed tar, without creating it. Omitted: false. */
  readonly unmade?: boolean;
}

export interface LayerBlob {
  /** OCI's or Docker's media type. The blob is in the content store, or at `remote`. */
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly remote: RemoteBlob | null;
}

export interface LayerOptions {
  readonly signal: AbortSignal;
  /** Called with progress, the bytes produced so far (of `total` if known); not called for a layer
   *  whose blob exists. */
  readonly onBytes?: Report;
}

/** Layers as blobs; packs layers not yet packed in that format. Concurrent equal calls pack once and report progress to the first. */
export interface LayerSource {
  blob(id: LayerId, variant: LayerVariant, options: LayerOptions): Promise<LayerBlob>;
  /** Digest and size of the uncompressed tar, without creating a blob. */
  diffId(
    id: LayerId,
    epochSeconds: number | null,
    options: LayerOptions,
  ): Promise<{ readonly diffId: Digest; readonly tarBytes: number }>;
}

export interface ExportDeps {
  readonly store: Store;
  readonly layers: LayerSource;
  /** Opened when needed: most outputs do not use a registry. */
  readonly registry: () => Promise<Registry>;
  readonly files: FilesKeeper;
  /** Was the blob sent to the repository while the build ran? Left out: nothing was. */
  readonly isSent?: (repository: Repository, digest: Digest) => boolean;
  readonly digests: FileDigests;
  /** Receives outputs whose destination is the client (dest=-); null: it accepts none, as a terminal. */
  readonly client: ClientOutputs | null;
  /** Command lines for `--load`, tried in order: [["docker","load"],["podman","load"]]. */
  readonly loaders: readonly (readonly string[])[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** An image that is attested, as its attestations may need to know it. */
export interface AttestedImage {
  /** By layer of the image, oldest first, as in its manifest; null: files are exported, and no image is made. */
  readonly layers:
    | readonly { readonly id: LayerId; readonly descriptor: Descriptor; readonly diffId: Digest }[]
    | null;
  /** Its newest time, in seconds since 1970, if it is an image: SOURCE_DATE_EPOCH, or what its config says. */
  readonly createdSeconds: number | null;
}

/** What a statement is about: digests in hexadecimal, by algorithm. */
export interface Subject {
  readonly name: string;
  readonly digest: Readonly<Record<string, string>>;
}

/** What is attested itself: the image under the names it has, or all its files. */
export interface SelfSubject {
  readonly kind: "self";
  /** One more name for it; null: it has no other. */
  readonly name: string | null;
}

/** Something said of one image, or of its files: an in-toto statement without its subject. */
export interface Attestation {
  readonly predicateType: string;
  /** Name of its file beside exported files: "provenance.json". */
  readonly filename: string;
  /** Only for outputs that are images; BuildKit's inline-only. */
  readonly inlineOnly: boolean;
  /** JSON text; called once for each output, when the layers are there. */
  readonly predicate: (image: AttestedImage) => Promise<string>;
  /** What it is about; left out: the image itself, or all its files. */
  readonly subjects?: readonly (Subject | SelfSubject)[];
}

export interface ExportContext {
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** The progress step of each output, started by the caller and ended here; null or omitted: not shown. */
  readonly vertices: readonly (Digest | null)[];
  /** The result is an index even if it has only one image. */
  readonly multiPlatform: boolean;
  /** SOURCE_DATE_EPOCH of the build; null: none. */
  readonly epochSeconds: number | null;
  /** The clock, for progress and for names in the image store; never for image content. */
  readonly nowMs: () => number;
  /** Of each image, by its place; left out: there are none. */
  readonly attestations?: readonly (readonly Attestation[])[];
  /** How images are signed, by each of these; left out: they are not. */
  readonly signings?: readonly Signing[];
}

/** The same for one output. */
export interface OutputContext extends Omit<ExportContext, "vertices"> {
  readonly vertex: Digest | null;
}

export interface ExportOutcome {
  readonly output: Output;
  /** Manifest or index; null for files. */
  readonly descriptor: Descriptor | null;
  /** Of the only image; null for files and several platforms. */
  readonly configDigest: Digest | null;
  /** As in BuildKit's `image.name`: as written if an image is stored or pushed, the full name in an archive; null: none. */
  readonly imageName: string | null;
  /** Output of the program that loaded the image. */
  readonly loaderMessage: string | null;
}
