// What comparing images and trees is about, as data: what is compared, what was found, and why. Types only.

import type { Platform } from "../../../solver/graph/op.ts";
import type { HistoryEntry, ImageConfig } from "../../../solver/graph/request.ts";
import type { CauseClass } from "./classes.ts";

/** What the user named. Paths are absolute. */
export type Subject = { readonly shown: string } & (
  | { readonly kind: "image"; readonly reference: string; readonly from: "store" | "registry" | "any" }
  | { readonly kind: "layout"; readonly path: string; readonly name: string | null }
  | { readonly kind: "path"; readonly path: string }
);

/** Bytes of a file, read where they are. */
export interface Content {
  readonly size: number;
  /** pread(2): fills as much of `into` as there is from `position` on; returns how many bytes. */
  read(into: Buffer, position: number): number;
}

export type MemberType = "file" | "link" | "symlink" | "char" | "block" | "dir" | "fifo" | "socket";

/** One file of a layer or of a directory. */
export interface Member {
  readonly type: MemberType;
  /** The twelve permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Target of a symbolic or hard link, as Latin-1 of its bytes. */
  readonly link: string;
  /** "major:minor"; "" for what is no device. */
  readonly device: string;
  readonly xattrs: ReadonlyMap<string, Buffer>;
  /** Of regular files. */
  readonly content: Content | null;
}

/** Files by name, without slashes around it, as Latin-1 of its bytes; in the order of the archive or directory. */
export interface FileTree extends Disposable {
  readonly members: ReadonlyMap<string, Member>;
}

export interface SideLayer {
  /** Of the uncompressed tar. */
  readonly diffId: string;
  /** Of the blob in the image; null: there is none yet. */
  readonly digest: string | null;
  /** Its files. The caller disposes them. */
  open(options: { readonly signal: AbortSignal }): Promise<FileTree>;
}

/** One of the two, opened. */
export type Side =
  | {
      readonly kind: "image";
      readonly shown: string;
      /** Of the manifest, null where it is not known; of the config. */
      readonly digest: string | null;
      readonly configDigest: string | null;
      readonly config: ImageConfig;
      readonly platform: Platform;
      readonly layers: readonly SideLayer[];
      /** What the image says of how it was made; null: nothing. */
      readonly provenance: (() => Promise<BuiltFrom | null>) | null;
    }
  | {
      readonly kind: "tree";
      readonly shown: string;
      open(options: { readonly signal: AbortSignal }): Promise<FileTree>;
    };

export type ImageSide = Extract<Side, { kind: "image" }>;

/** What provenance says of a build. */
export interface BuiltFrom {
  /** Text of the Dockerfile and its name; null: the statement does not have it (mode=min). */
  readonly dockerfile: { readonly name: string; readonly text: string } | null;
  /** Arguments of the frontend, in BuildKit's words. */
  readonly args: Readonly<Record<string, string>>;
  /** URL of the context with its digest, where that is a repository or archive; null: directories of the client. */
  readonly context: { readonly url: string; readonly digest: string | null } | null;
  /** Directories of the client that were read. */
  readonly locals: readonly string[];
  /** Image references with the digest they stood for. */
  readonly images: readonly { readonly reference: string; readonly digest: string }[];
}

/** The same of an image, with the platform it is for. */
export interface BuiltImageFrom extends BuiltFrom {
  readonly platform: Platform;
}

/** A place in a Dockerfile. Lines count from 1, both included. */
export interface StepPlace {
  readonly file: string;
  readonly line: number;
  readonly endLine: number;
  readonly text: string;
}

/** What made a layer. */
export interface Step {
  /** The history entry's words, without what builders add to them. */
  readonly command: string;
  readonly place: StepPlace | null;
  /** Stage it is in, where that is another than the image's. */
  readonly stage: string | null;
}

export interface Cause {
  readonly class: CauseClass;
  /** One sentence. */
  readonly detail: string;
}

/** A field that differs; values as text. */
export interface FieldDifference {
  readonly field: string;
  readonly a: string;
  readonly b: string;
}

/** Where bytes differ first, and what is there. */
export interface ContentDifference {
  readonly offset: number;
  /** Of the first difference in text, from 1; null: it is no text. */
  readonly line: number | null;
  readonly a: string;
  readonly b: string;
  /** Bytes that differ at the same offset; null: the sizes differ. */
  readonly bytes: number | null;
  /** sha256 of both, in hexadecimal, with a space between; "" where they were not taken. */
  readonly digests: string;
}

export interface FileDifference {
  readonly path: string;
  readonly change: "changed" | "only-a" | "only-b";
  readonly fields: readonly FieldDifference[];
  readonly content: ContentDifference | null;
  readonly causes: readonly Cause[];
  /** The step that brought this difference in, where an earlier one did; null: this is the first. */
  readonly follows: Step | null;
}

export interface LayerDifference {
  /** Places among the layers of each, from 1; null: it has no counterpart. */
  readonly a: number | null;
  readonly b: number | null;
  readonly step: Step | null;
  readonly files: readonly FileDifference[];
  /** Files that differ as well, and are not listed. */
  readonly more: number;
  /** What holds for the layer as a whole. */
  readonly causes: readonly Cause[];
  /** Whose tar the step ran, where that takes other flags than GNU's. */
  readonly tar?: "busybox";
}

/** A file with the day on which it was made. */
export interface DatedFile {
  readonly path: string;
  readonly step: Step;
  readonly text: string;
}

export interface Comparison {
  readonly a: { readonly shown: string; readonly kind: Side["kind"]; readonly digest: string | null };
  readonly b: { readonly shown: string; readonly kind: Side["kind"]; readonly digest: string | null };
  readonly same: boolean;
  readonly config: readonly FieldDifference[];
  /** Of those that differ. */
  readonly layers: readonly LayerDifference[];
  /** What differs and does not count. */
  readonly notes: readonly string[];
  /** Files that are equal and hold the day of the build. */
  readonly dated: readonly DatedFile[];
}

/** Values that are known to have been different on the two sides, for example host names of the two builds. `a` "": it had none. */
export interface KnownValue {
  readonly class: CauseClass;
  readonly what: string;
  readonly a: string;
  readonly b: string;
  /** It counts where it is all of a line: a number is in many. */
  readonly isLine?: boolean;
  /** Of a time zone: seconds that clocks are ahead on side B. */
  readonly aheadSeconds?: number;
}

export type History = readonly HistoryEntry[];

/** A Dockerfile as its steps are found in it. */
export interface SourceFile {
  readonly name: string;
  readonly text: string;
  /** Stage that was built; null: the last. */
  readonly target: string | null;
}

export interface CompareRequest {
  readonly a: Subject;
  readonly b: Subject;
  /** null: this machine's, or the only one. */
  readonly platform: Platform | null;
  /** The Dockerfile the second was built from; null: as its provenance has it. */
  readonly source: SourceFile | null;
  /** Values that were different on purpose. */
  readonly known: readonly KnownValue[];
  /** Days of the build (milliseconds since 1970 at their begin), which files of RUN steps of the second are searched for; omitted: they are not. */
  readonly days?: readonly number[];
}
