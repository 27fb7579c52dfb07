// What the image tools work with: images anywhere, as graphs of documents. Types only.

import type { Digest } from "../../../solver/graph/digest.ts";
import type { Platform } from "../../../solver/graph/op.ts";
import type { Descriptor, ImageConfig } from "../../../solver/graph/request.ts";
import type { Index, Manifest } from "../../../cache/registry/documents.ts";
import type { Annotation } from "../../../exporters/annotations.ts";
import type { RawDescriptor } from "../../../exporters/raw-index.ts";
import type { Reference } from "../../../cache/registry/reference.ts";

/** Where an image is, or goes. Paths are absolute; null: standard output. */
export type ImageAddress = { readonly text: string } & (
  | { readonly kind: "registry"; readonly reference: Reference }
  /** A name or ID of the local store. */
  | { readonly kind: "local"; readonly name: string }
  /** As FROM has it: of the local store if it is there, else of its registry. */
  | { readonly kind: "name"; readonly name: string }
  /** A directory, or to read the tar of one. name: a tag, a digest, or null. */
  | { readonly kind: "layout"; readonly path: string; readonly name: string | null }
  | {
      readonly kind: "archive";
      readonly format: "oci" | "docker";
      readonly path: string | null;
      readonly name: string | null;
    }
);

export interface Document {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}

/** A manifest or index with what it lists. */
export interface GraphNode {
  /** As its parent says it, or as it was asked for. */
  readonly descriptor: Descriptor;
  /** null: it is not where its index is (archives hold one platform of many). */
  readonly bytes: Uint8Array | null;
  readonly document: Manifest | Index | null;
  readonly children: readonly GraphNode[];
}

/** One image of a graph with its config. */
export interface GraphImage {
  readonly node: GraphNode;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly configBytes: Uint8Array;
  readonly platform: Platform;
}

export interface CopyOptions {
  /** Empty: all. One: that image alone. Several: an index of these. */
  readonly platforms: readonly Platform[];
  /** Signatures and other artifacts about the image come along: between registries only. */
  readonly withReferrers: boolean;
}

export interface CopyReport {
  readonly descriptor: Descriptor;
  /** Blobs that were there, were mounted from another repository, were moved. */
  readonly existing: number;
  readonly mounted: number;
  readonly moved: number;
  readonly movedBytes: number;
  /** Signatures and other artifacts about the image. */
  readonly referrers: number;
}

/** What an index is made of. */
export interface CombineRequest {
  readonly sources: readonly {
    readonly address: ImageAddress;
    /** What the user says of it: a descriptor in JSON; null: nothing. */
    readonly given: RawDescriptor | null;
  }[];
  /** Of the index and of its entries. */
  readonly annotations: readonly Annotation[];
  /** A single manifest becomes an index, too. */
  readonly prefersIndex: boolean;
  /** Empty: all. */
  readonly platforms: readonly Platform[];
}

export interface AppendRequest {
  readonly from: ImageAddress;
  readonly to: ImageAddress;
  /** Tars and directories, oldest layer first; paths are absolute, `shown` is what the user wrote. */
  readonly paths: readonly { readonly path: string; readonly shown: string; readonly isDirectory: boolean }[];
  /** Empty: all. */
  readonly platforms: readonly Platform[];
  readonly createdMs: number;
}

export interface ListingOptions {
  readonly withDigests: boolean;
  /** Also tags for what is said about images: signatures, lists of referrers. */
  readonly withAttached: boolean;
}

/** A tag of a repository and what it stands for; null: it was not asked, or is gone. */
export interface RemoteTag {
  readonly tag: string;
  readonly descriptor: Descriptor | null;
}

/** One file of a layer that counts. */
export interface LayerFile {
  readonly path: string;
  readonly bytes: number;
  /** 1 is the oldest layer. */
  readonly layer: number;
  /** The layer that replaced or deleted it again; null: it is in the image. */
  readonly goneIn: number | null;
}

export interface LayerSize {
  readonly layer: number;
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly createdBy: string;
  /** Of the files in it; null: it was not read. */
  readonly fileBytes: number | null;
  readonly files: number | null;
  /** Of its files that later layers replaced or deleted. */
  readonly wastedBytes: number | null;
}

export interface LayerReport {
  readonly name: string;
  readonly platform: Platform;
  readonly digest: Digest;
  readonly layers: readonly LayerSize[];
  /** Largest first; empty: not asked for. */
  readonly largest: readonly LayerFile[];
  readonly wasted: readonly LayerFile[];
}

/** An opened image. */
export interface OpenImage {
  /** What the user wrote, and what buildx would print: docker.io/library/app:1. */
  readonly shown: string;
  readonly name: string;
  readonly graph: GraphNode;
  /** Images of the graph with their configs, in its order. */
  images(): Promise<readonly GraphImage[]>;
  /** The image of a platform; null: this machine's, or the only one. */
  imageFor(platform: Platform | null): Promise<GraphImage>;
  /** A small blob, such as a statement. Throws IMAGE_INVALID over maxBytes. */
  read(descriptor: Descriptor, maxBytes: number): Promise<Uint8Array>;
}

/** All reject with IMAGE_*, REGISTRY_*, PLATFORM_UNSUPPORTED, OUTPUT_*, USAGE. */
export interface ImageTools {
  open(address: ImageAddress): Promise<OpenImage>;
  copy(from: ImageAddress, to: ImageAddress, options: CopyOptions): Promise<CopyReport>;
  /** Makes an index, and sends it and its parts to all destinations. */
  create(request: CombineRequest, to: readonly ImageAddress[]): Promise<Document>;
  /** `count`: of the largest files, for which layers are read; 0: none are. */
  layers(address: ImageAddress, platform: Platform | null, count: number): Promise<LayerReport>;
  /** Files of the image as a tar; path null: to the client. */
  exportRootfs(address: ImageAddress, platform: Platform | null, path: string | null): Promise<void>;
  append(request: AppendRequest): Promise<{ readonly descriptor: Descriptor; readonly dropped: number }>;
  annotate(
    from: ImageAddress,
    annotations: readonly Annotation[],
    to: ImageAddress,
  ): Promise<{ readonly descriptor: Descriptor; readonly dropped: number }>;
  /** Tags of a repository. */
  tags(repository: Reference, options: ListingOptions): Promise<readonly RemoteTag[]>;
  /** Removes a tag, or a manifest with all its tags. Returns what was removed. */
  removeRemote(reference: Reference, options: { readonly withOtherTags: boolean }): Promise<string>;
  /** Descriptor of what an address stands for; of a registry without reading more than that. */
  resolve(address: ImageAddress): Promise<Descriptor>;
}
