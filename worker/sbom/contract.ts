// What a scan finds in a file tree, and what it needs of the tree. Types only.

import type { TreeReader } from "../../cache/tree.ts";

/** Kinds of packages, by their type in package URLs (purl-spec, "Known purl types"). */
export type PackageType =
  | "apk"
  | "cargo"
  | "composer"
  | "deb"
  | "gem"
  | "golang"
  | "maven"
  | "npm"
  | "pypi"
  | "rpm";

/** What os-release(5) says of the tree. */
export interface Distro {
  readonly id: string;
  readonly versionId: string | null;
  readonly prettyName: string | null;
}

/** One file that shows a package. */
export interface Location {
  /** Path in the tree, absolute, as text. */
  readonly path: string;
  /** Index of the layer that brought the package to this file (Scan.layers); null: the tree has no layers. */
  readonly layer: number | null;
}

export interface FoundPackage {
  readonly type: PackageType;
  readonly name: string;
  /** null: not known, as of a Go program built from a working tree. */
  readonly version: string | null;
  /** Package URL; null: a name that has none. */
  readonly purl: string | null;
  /** Licences as the package states them, SPDX expressions or not; all of them apply. */
  readonly licenses: readonly string[];
  /** Who supplies it, as stated ("Jane Doe <jane@example.com>"). */
  readonly supplier: string | null;
  /** Source package it was built from, with its version where that differs. */
  readonly source: string | null;
  /** Listed by a lock file, without an installed copy beside it. */
  readonly declared: boolean;
  /** Sorted by path. */
  readonly locations: readonly Location[];
}

/** A file that showed packages. */
export interface EvidenceFile {
  readonly path: string;
  /** The layer whose copy is seen. */
  readonly layer: number | null;
  readonly sha1: string; // hex
  readonly sha256: string; // hex
}

/** What could not be read, so packages may be missing. */
export interface Unread {
  readonly path: string;
  readonly reason: string;
}

export interface Scan {
  readonly distro: Distro | null;
  /** Sorted by type, name, version and purl; one for each package URL. */
  readonly packages: readonly FoundPackage[];
  readonly files: readonly EvidenceFile[]; // sorted by path
  readonly unread: readonly Unread[]; // sorted by path
}

/** One layer's copy of a file. */
export interface FileVersion {
  readonly layer: number;
  readonly size: number; // bytes
  /** Descriptor, for the caller to close. */
  open(): number;
}

/** What a scan reads. Nothing in it is trusted. */
export interface ScanTree {
  readonly tree: TreeReader;
  /** The regular files that layers have at a path, oldest first, from the last layer on that hides those below; the last one is what the
   *  tree shows. Omitted: the tree has no layers. */
  readonly versionsOf?: (path: string) => readonly FileVersion[];
}

/** What a document says that is not in the tree. */
export interface DocumentInputs {
  /** What was scanned: an image, a stage, a context. */
  readonly name: string;
  readonly kind: "image" | "directory";
  /** Version of this program. */
  readonly toolVersion: string;
  readonly createdEpochSeconds: number;
  /** diffIds, oldest first: what `layer` in the scan counts. Empty: the tree has no layers. */
  readonly layers: readonly string[];
  /** Digest of the image's manifest; null: there is none yet. */
  readonly digest: string | null;
  /** URI of the document; null: made from its content. */
  readonly namespace: string | null;
}
