// Messages from the front to the keeper, as data. Paths are absolute, in the store or in a context; file bytes are never sent.

import type { BlockIndex, EarlierBlob } from "../../cache/layers/earlier-blocks.ts";
import type { LayerTable } from "../../cache/layers/pack.ts";
import type { Listing } from "../../cache/layers/listing.ts";
import type { FileType } from "../../cache/tree.ts";
import type { Selector } from "../../cache/tree-select.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { StepLeft } from "../../solver/graph/error.ts";
import type { ChownOpt, FileAction } from "../../solver/graph/op.ts";

/** A tree the keeper can read: stacked layer directories (oldest first), or a directory of the client with its ignore rules. */
export type Tree =
  | { readonly kind: "layers"; readonly dirs: readonly string[] }
  | {
      readonly kind: "files";
      readonly root: string;
      readonly excludes: readonly string[];
      readonly includes: readonly string[];
      readonly gitModes?: boolean;
    };

/** One FileOp: actions in order on one active layer above `base`. Runs in a keeper thread. */
export interface FileJob {
  readonly kind: "file";
  readonly base: readonly string[]; // layer directories below, oldest first
  readonly upper: string;
  readonly work: string;
  readonly inputs: readonly (Tree | null)[]; // the vertex's inputs
  readonly actions: readonly FileAction[];
  /** For each action: where user and group names are looked up (the tree of ChownOpt's input). Resolved by the executor from `inputs`/base. */
  readonly times: { readonly epochSeconds: number | null };
}
export interface FileOutcome {
  /** Digest over all that was read from `files` trees, in the same form selectDigest() gives it; null when there was none. */
  readonly readDigest: Digest | null;
  /** What archives held and could not be made, in sentences. */
  readonly notes?: readonly string[];
}

/** Copies a whole tree (selection of a context) into an empty upper directory: a bind mount of the context. */
export interface MaterializeJob {
  readonly kind: "materialize";
  readonly tree: Tree;
  readonly selector: string;
  readonly upper: string;
}

/** What makes the tree `to` out of the tree `from` (layer directories, oldest first): ops/diff.ts. */
export interface DiffJob {
  readonly kind: "diff";
  readonly from: readonly string[];
  readonly to: readonly string[];
  readonly upper: string;
  readonly work: string;
}

/** Layer blob (a file) to a directory in overlay form; verifies diffId while it reads. */
export interface ApplyJob {
  readonly kind: "apply";
  readonly blob: string;
  readonly mediaType: string;
  readonly diffId: Digest | null; // null: not known, returned
  readonly dir: string; // exists, empty
  /** The blob is still being written: ApplyRequest of cache/layers/apply.ts; omitted: it is whole. */
  readonly arriving?: { readonly path: string; readonly sizeBytes: number };
}
export interface ApplyOutcome extends PlainOutcome {
  readonly sizeBytes: number;
  readonly entries: number;
  /** What the layer holds and could not be made, in sentences. */
  readonly notes?: readonly string[];
}

/** What a layer blob (a file) holds, without unpacking it. */
export interface PlainJob {
  readonly kind: "plain";
  readonly blob: string;
}
export interface PlainOutcome {
  readonly diffId: Digest;
  /** Bytes of the tar in it. */
  readonly tarBytes: number;
  readonly compression: "none" | "gzip" | "zstd" | "bzip2" | "xz";
}

export type Compression = "gzip" | "zstd" | "estargz" | "zstd:chunked" | "uncompressed";

/** Upper directory to layer tar; diffId, digest and compressed blob in one pass. */
export interface PackJob {
  readonly kind: "pack";
  readonly dir: string;
  /** Where the compressed blob goes; null: only the diffId is wanted. */
  readonly out: string | null;
  readonly compression: Compression;
  readonly level: number | null;
  /** Clamp times to this (seconds); null: as they are. */
  readonly epochSeconds: number | null;
  /** Compress with the compressor whose bytes are equal on every machine and Node version. */
  readonly pinned?: boolean;
  /** Blobs of layers that may be much like this one, whose equal blocks are taken over; omitted: none are looked for. */
  readonly earlier?: readonly EarlierBlob[];
  /** The directory was made by a keeper with one id, and this one has several (LayerStore.isOfOtherIds). */
  readonly oneId?: boolean;
}
/** A layer blob in another compression; its tar stays unchanged. */
export interface RecompressJob {
  readonly kind: "recompress";
  readonly blob: string;
  readonly out: string;
  readonly compression: Compression;
  readonly level: number | null;
  readonly pinned?: boolean;
}
export interface PackOutcome {
  readonly diffId: Digest;
  readonly tarBytes: number;
  readonly digest: Digest | null;
  readonly size: number | null;
  /** The blocks of the blob, for later ones. */
  readonly blocks?: BlockIndex;
  /** What is at the end of a blob in eStargz or zstd:chunked. */
  readonly table?: LayerTable;
}

export interface RecompressOutcome extends PackOutcome {
  /** Of the blob that was read. */
  readonly compression: PlainOutcome["compression"];
}

/** Digest of what a selector picks out of a tree (content keys). */
export interface SelectJob {
  readonly kind: "select";
  readonly tree: Tree;
  readonly selectors: readonly Selector[];
}
/** Takes attributes that a step made up in our name out of what it wrote (cache/layers/owner.ts). */
export interface StripJob {
  readonly kind: "strip";
  readonly dir: string;
}
/** Removes from an upper directory what equals what the layers below show: ops/unchanged.ts. */
export interface DropUnchangedJob {
  readonly kind: "drop-unchanged";
  readonly upper: string;
  readonly below: readonly string[];
}
/** Removes directory trees of the store that hold foreign owners. */
export interface RemoveJob {
  readonly kind: "remove";
  readonly paths: readonly string[];
}
/** Reads a file inside stacked layers, in-root, regular, at most maxBytes; null when missing. */
export interface ReadJob {
  readonly kind: "read";
  readonly dirs: readonly string[];
  readonly path: string;
  readonly maxBytes: number;
}
/** What is at a path in stacked layers: ops/look.ts. */
export interface LookJob {
  readonly kind: "look";
  readonly tree:
    | { readonly kind: "layers"; readonly dirs: readonly string[] }
    /** A descriptor of a file system that processes write to meanwhile. It stays the caller's. */
    | { readonly kind: "mounted"; readonly root: number };
  readonly path: string;
  readonly question: TreeQuestion;
}
export type TreeQuestion =
  | { readonly kind: "stat" }
  /** A part of a regular file. length null: to its end, which maxBytes bounds. */
  | {
      readonly kind: "file";
      readonly offset: number;
      readonly length: number | null;
      readonly maxBytes: number;
    }
  /** Names in a directory; pattern in the syntax of Go's filepath.Match, "" for all. */
  | { readonly kind: "list"; readonly pattern: string };
export type LookAnswer =
  | { readonly kind: "stat"; readonly entry: TreeEntry }
  | { readonly kind: "file"; readonly data: Uint8Array }
  | { readonly kind: "list"; readonly entries: readonly TreeEntry[] };
/** A file as lstat(2) has it. */
export interface TreeEntry {
  readonly name: string; // the last component; "" for the root
  readonly type: FileType;
  readonly mode: number; // permission, set-id and sticky bits
  readonly uid: number;
  readonly gid: number;
  readonly size: number; // bytes; 0 for what has none
  readonly mtimeNs: bigint;
  readonly linkName: string; // of a symbolic link
  readonly rdevMajor: number;
  readonly rdevMinor: number;
}
/** The tree as a tar or as files: `-o type=local|tar`. */
export interface ExportJob {
  readonly kind: "export";
  /** Each merged tree goes into its folder of the output; null: its top, where no two may have the same file. `name`: of the tree, in messages. */
  readonly trees: readonly {
    readonly dirs: readonly string[];
    readonly folder: string | null;
    readonly name: string;
  }[];
  readonly form: "tar" | "directory";
  readonly dest: string; // a file or an existing directory
  /** What the user calls the output; null: `dest` is a file of the store. */
  readonly output: string | null;
  /** An empty directory of the store, where several trees are put together; stays the caller's. */
  readonly scratch: string;
  readonly epochSeconds: number | null;
}
/** Digests of all regular files of a merged tree: cache/layers/file-digests.ts. */
export interface DigestsJob {
  readonly kind: "digests";
  readonly dirs: readonly string[];
  /** A file that does not exist yet, for a line a file. */
  readonly out: string;
}
/** Which packages are in a tree: ops/sbom.ts. */
export interface ScanJob {
  readonly kind: "scan";
  readonly tree: Tree;
  /** The directory of each layer, oldest first: what `layer` of the outcome counts. `tree` may have several of them as one. */
  readonly layers: readonly string[];
}
/** Which layer brought each path: ops/layer-of.ts. Answered with a place in `layers` for each path, null for none. */
export interface LayerOfJob {
  readonly kind: "layer-of";
  /** The directory of each layer, oldest first. */
  readonly layers: readonly string[];
  /** In the tree, absolute or not. */
  readonly paths: readonly string[];
}
/** syncfs(2) of the file system a directory is on. */
export interface SyncJob {
  readonly kind: "sync";
  readonly dir: string;
  /** So little is dirty that it takes no longer than starting a thread. */
  readonly isBrief: boolean;
}
/** Size and listing of a layer's directory, and which of some earlier layers it equals but for its times. */
export interface MeasureJob {
  readonly kind: "measure";
  /** Nobody waits for it: a thread takes it when no other job wants one. */
  readonly background: boolean;
  readonly dir: string;
  readonly earlier: readonly { readonly dir: string; readonly shape: Digest }[];
}
export interface MeasureOutcome extends Listing {
  /** Index in `earlier`; null: none. */
  readonly same: number | null;
}

/** A cache mount's directory to an index and packs for other machines: cache/remote-cache/mount-pack.ts. */
export interface PackMountJob {
  readonly kind: "pack-mount";
  readonly dir: string;
  readonly previous: string | null;
  readonly out: string; // an empty directory
}
/** The way back, into an empty directory: cache/remote-cache/mount-restore.ts. */
export interface RestoreMountJob {
  readonly kind: "restore-mount";
  readonly index: string;
  readonly packs: Readonly<Record<string, string>>;
  readonly dir: string;
}

export type ThreadJob =
  | FileJob
  | MaterializeJob
  | DiffJob
  | ApplyJob
  | PlainJob
  | PackJob
  | RecompressJob
  | SelectJob
  | DropUnchangedJob
  | RemoveJob
  | StripJob
  | ReadJob
  | LookJob
  | ExportJob
  | DigestsJob
  | MeasureJob
  | ScanJob
  | LayerOfJob
  | SyncJob
  | PackMountJob
  | RestoreMountJob;

export type { ChownOpt, Selector };

/** How `resolvConf` begins where its servers are those of a configuration. The line ends with the server this machine asks first. */
export const CONFIGURED_DNS = "# name servers of the configuration; this machine asks ";

/** A RUN (or `tsbuild run`): everything resolved but what only the root file system can tell (user names, PATH). */
export interface ExecJob extends ContainerJob, ProcessJob {}

/** What the processes of a container have in common. */
export interface ContainerJob {
  readonly rootfs: {
    readonly dirs: readonly string[]; // layer directories, oldest first
    readonly upper: string; // future layer
    readonly work: string;
    readonly readonly: boolean; // mount the root read-only (only mounts have outputs)
  };
  readonly hostname: string;
  readonly extraHosts: readonly { readonly host: string; readonly ip: string }[];
  readonly resolvConf: string; // content for /etc/resolv.conf
  readonly network: "sandbox" | "host" | "none";
  readonly mounts: readonly ExecJobMount[]; // in the order they are made
  readonly rlimits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
  /** Processes and threads it may have: worker/process-bound.ts; null: any number. */
  readonly processes: number | null;
  /** CDI edits and the like: extra device nodes to bind from the host. */
  readonly devices: readonly string[];
  /** Directory of a cgroup (v2) made for the step: worker/cgroup.ts. Omitted: it stays in the builder's. */
  readonly cgroup?: string;
}

/** One process of a container; of a step there is only one. */
export interface ProcessJob {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string; // as in USER: name or id, [:group]
  readonly security: "sandbox" | "insecure";
  /** A terminal of this size for stdin, stdout and stderr; null: pipes, stdin closed unless `stdin`. */
  readonly tty: { readonly rows: number; readonly columns: number } | null;
  readonly stdin: boolean;
  /** Processors it may use, at most; omitted: all. */
  readonly processors?: number;
  /** Directories are listed backwards; omitted: they are not. */
  readonly reversedNames?: boolean;
}
export type ExecJobMount =
  | {
      readonly kind: "tree"; // layers of another stage or a materialised context
      readonly target: string;
      readonly dirs: readonly string[];
      readonly selector: string;
      readonly readonly: boolean;
      /** Where writes go when not read-only; thrown away or committed by the front. */
      readonly upper: string | null;
      readonly work: string | null;
    }
  | {
      readonly kind: "directory"; // a cache mount, or -v
      readonly target: string;
      readonly path: string;
      readonly readonly: boolean;
      /** Set on a directory that was just made; null: leave it. */
      readonly owner: { readonly uid: number; readonly gid: number; readonly mode: number } | null;
      /** -v of a single file is allowed; cache mounts are directories. */
      readonly fileAllowed: boolean;
    }
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeBytes: number | null }
  | {
      readonly kind: "secret";
      readonly target: string;
      readonly data: Uint8Array;
      readonly uid: number;
      readonly gid: number;
      readonly mode: number;
    }
  | {
      readonly kind: "ssh";
      readonly target: string;
      readonly socket: string; // host path of the agent
      readonly uid: number;
      readonly gid: number;
      readonly mode: number;
    };

export interface OtherNetwork {
  readonly kind: "forwarded" | "host";
  readonly why: string;
}

export interface ExecOutcome {
  readonly code: number | null; // exit code, null when a signal ended it
  readonly signal: number | null;
  readonly cpuMs: number;
  readonly peakBytes: number;
  /** The step had another network than the usual one: forwarded by the keeper, or the host's. Why, for people. */
  readonly otherNetwork?: OtherNetwork;
  /** The upper directory holds nothing any more that equals what was below it: DropUnchangedJob has nothing to do. */
  readonly unchangedDropped?: true;
}

/** An error on the wire. `system`: not the user's doing. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  /** Of a DiskRefused. */
  readonly errno?: string;
  readonly hint: string | null;
  readonly exitCode: number | null;
  readonly left?: StepLeft | null;
  readonly stack: string;
}

export type ToKeeper =
  | { readonly type: "job"; readonly id: number; readonly job: ThreadJob }
  | { readonly type: "exec"; readonly id: number; readonly job: ExecJob }
  /** Mounts the file systems of a container, which `id` names from then on. Answered when they are there. */
  | { readonly type: "open"; readonly id: number; readonly job: ContainerJob }
  /** Starts a process of a container. Its output and its input are acknowledged. */
  | { readonly type: "process"; readonly id: number; readonly container: number; readonly job: ProcessJob }
  /** Looks into a mount of a container, by its place among them; null: its root. */
  | {
      readonly type: "look";
      readonly id: number;
      readonly container: number;
      readonly mount: number | null;
      readonly path: string;
      readonly question: TreeQuestion;
    }
  /** Ends a container, whose processes have ended. */
  | { readonly type: "release"; readonly id: number; readonly container: number }
  /** Output of a process was taken: so many bytes. */
  | { readonly type: "taken"; readonly id: number; readonly bytes: number }
  /** Kills a process of a container; what it still says is dropped. */
  | { readonly type: "end"; readonly id: number }
  /** Ends a job; it answers as one that failed. */
  | { readonly type: "stop"; readonly id: number }
  | { readonly type: "kill"; readonly id: number; readonly signal: number }
  | { readonly type: "stdin"; readonly id: number; readonly data: Uint8Array | null } // null: end
  | { readonly type: "resize"; readonly id: number; readonly rows: number; readonly columns: number }
  | { readonly type: "close" };

/** What is answered by "done" or "failed". */
export type Request = WithoutId<
  Extract<ToKeeper, { readonly type: "job" | "exec" | "open" | "process" | "look" | "release" }>
>;
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

export type FromKeeper =
  | { readonly type: "ready"; readonly pid: number }
  /** The job was read. One without this, of a keeper that has died, has done nothing. */
  | { readonly type: "begun"; readonly id: number }
  | { readonly type: "done"; readonly id: number; readonly outcome: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: WireError }
  | { readonly type: "output"; readonly id: number; readonly fd: 1 | 2; readonly data: Uint8Array }
  /** So many bytes of input went to the process, or nowhere because it is gone. */
  | { readonly type: "fed"; readonly id: number; readonly bytes: number };
