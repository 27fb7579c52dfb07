import type { Writable } from "node:stream";
import type { Registry } from "../cache/registry/client.ts";
import type { RemoteBlob, Store } from "../cache/store.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Emit } from "../solver/graph/event.ts";
import type { BuiltImage, Descriptor, LayerId } from "../solver/graph/request.ts";
import { type FilesKeeper } from "./files.ts";
import type { LayerCompression, Output } from "./output-grammar.ts";
/** The form in which a layer is wanted. */
export interface LayerVariant {
    readonly compression: LayerCompression;
    readonly level: number | null;
    /** Only a blob of just this compression will do; else a base layer may come as it is. */
    readonly force: boolean;
    /** Times in it are at most this, in seconds; null: as they are. */
    readonly epochSeconds: number | null;
    /** A layer of the base image: its content, and without `force` its blob, stay as they are. */
    readonly pinned: boolean;
}
export interface LayerBlob {
    /** Media type in OCI's or Docker's words. The blob is in the content store, unless `remote` says where it can be had. */
    readonly descriptor: Descriptor;
    readonly diffId: Digest;
    readonly remote: RemoteBlob | null;
}
/** Layers as blobs; packs what has not been packed in that form. Equal calls at one time are one packing. */
export interface LayerSource {
    blob(id: LayerId, variant: LayerVariant, options: {
        readonly signal: AbortSignal;
    }): Promise<LayerBlob>;
    /** Digest and size of the plain tar, without making a blob. */
    diffId(id: LayerId, epochSeconds: number | null, options: {
        readonly signal: AbortSignal;
    }): Promise<{
        readonly diffId: Digest;
        readonly tarBytes: number;
    }>;
}
export interface ExportDeps {
    readonly store: Store;
    readonly layers: LayerSource;
    readonly registry: Registry;
    readonly files: FilesKeeper;
    /** Where dest=- goes; null: a terminal, which gets no bytes. */
    readonly stdout: Writable | null;
    /** Command lines for `--load`, tried in order: [["docker","load"],["podman","load"]]. */
    readonly loaders: readonly (readonly string[])[];
    readonly env: Readonly<Record<string, string | undefined>>;
}
export interface ExportContext {
    readonly signal: AbortSignal;
    readonly emit: Emit;
    /** The step transfers are shown under; null: not shown. */
    readonly vertex: Digest | null;
    /** The result is an index although it may have one image only. */
    readonly multiPlatform: boolean;
    /** SOURCE_DATE_EPOCH of the build; null: none. */
    readonly epochSeconds: number | null;
    /** The clock: of progress and of names in the image store; never in an image. */
    readonly nowMs: () => number;
}
export interface ExportOutcome {
    readonly output: Output;
    /** Manifest or index; null for files. */
    readonly descriptor: Descriptor | null;
    /** Of the only image; null for files and several platforms. */
    readonly configDigest: Digest | null;
    readonly names: readonly string[];
    /** What a program that loaded the image said. */
    readonly loaderMessage: string | null;
}
/** Where the image store keeps names; see ImageRecord. */
export declare const IMAGE_SPACE = "image";
/**
 * Runs outputs side by side; the first failure stops the others. Throws OUTPUT_INVALID, OUTPUT_FAILED, REGISTRY_*, and what
 * packing throws. What was written under a final name before a failure elsewhere stays.
 */
export declare function runOutputs(images: readonly BuiltImage[], outputs: readonly Output[], deps: ExportDeps, context: ExportContext): Promise<ExportOutcome[]>;
