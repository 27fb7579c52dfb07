// Op: one build step as data. Mirrors LLB (pb/ops.proto), so an Op and its bytes are equivalent.

export type Attrs = Readonly<Record<string, string>>;

export type Op = SourceOp | ExecOp | FileOp | MergeOp | DiffOp | BuildOp | PassthroughOp;

/** Bytes from elsewhere. identifier: docker-image:// oci-layout:// (each also with "+blob") local:// git:// https:// http:// */
export interface SourceOp {
  readonly kind: "source";
  readonly identifier: string;
  readonly attrs: Attrs;
}

export interface ExecOp {
  readonly kind: "exec";
  readonly args: readonly string[];
  readonly env: readonly string[]; // NAME=value, in order
  readonly cwd: string;
  readonly user: string; // as written; resolved against the root file system by the worker
  readonly proxyEnv: ProxyEnv | null; // never part of a cache key
  readonly extraHosts: readonly { readonly host: string; readonly ip: string }[];
  readonly hostname: string;
  readonly ulimits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
  readonly cgroupParent: string;
  readonly validExitCodes: readonly number[]; // empty: only 0
  readonly mounts: readonly ExecMount[]; // the one at "/" is the root
  readonly network: "sandbox" | "host" | "none";
  readonly security: "sandbox" | "insecure";
  readonly secretEnv: readonly { readonly id: string; readonly name: string; readonly optional: boolean }[];
  readonly devices: readonly { readonly name: string; readonly optional: boolean }[];
}
export interface ProxyEnv {
  readonly httpProxy: string;
  readonly httpsProxy: string;
  readonly ftpProxy: string;
  readonly noProxy: string;
  readonly allProxy: string;
}

/** input: index into the vertex's inputs, null for an empty start. output: index of the output it becomes, or null. */
export type ExecMount =
  | {
      readonly kind: "bind";
      readonly input: number | null;
      readonly selector: string;
      readonly target: string;
      readonly readonly: boolean;
      readonly output: number | null;
      /** Whether the input may be part of a key by its content; left out: where that is cheap and safe. */
      readonly contentCache?: "on" | "off";
    }
  | {
      readonly kind: "cache";
      readonly id: string;
      readonly input: number | null;
      readonly selector: string;
      readonly target: string;
      readonly readonly: boolean;
      readonly sharing: "shared" | "private" | "locked";
    }
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeBytes: number | null }
  | {
      readonly kind: "secret" | "ssh";
      readonly id: string;
      readonly target: string;
      readonly uid: number;
      readonly gid: number;
      readonly mode: number;
      readonly optional: boolean;
    };

/** What a cache mount is kept under. */
export function cacheMountId({ id, target }: Extract<ExecMount, { kind: "cache" }>): string {
  return id === "" ? target : id;
}

export interface FileOp {
  readonly kind: "file";
  readonly actions: readonly FileAction[];
}

/** base/from: below inputs.length an input of the vertex; from there on the result of action (n - inputs.length);
 *  null is scratch. output: index of the vertex output it becomes, null for none. */
export type FileAction =
  | ({ readonly kind: "copy"; readonly from: number | null } & CopyAction & ActionBase)
  | ({
      readonly kind: "mkfile";
      readonly path: string;
      readonly mode: number;
      readonly data: Uint8Array;
      readonly owner: ChownOpt | null;
      readonly timestampNs: bigint | null;
    } & ActionBase)
  | ({
      readonly kind: "mkdir";
      readonly path: string;
      readonly mode: number;
      readonly makeParents: boolean;
      readonly owner: ChownOpt | null;
      readonly timestampNs: bigint | null;
    } & ActionBase)
  | ({
      readonly kind: "rm";
      readonly path: string;
      readonly allowNotFound: boolean;
      readonly allowWildcard: boolean;
    } & ActionBase)
  | ({
      readonly kind: "symlink";
      readonly target: string; // text of the link
      readonly path: string; // path of the link
      readonly owner: ChownOpt | null;
      readonly timestampNs: bigint | null;
    } & ActionBase);

export interface ActionBase {
  readonly base: number | null;
  readonly output: number | null;
}

/** What is copied where; the fields are those of pb.FileActionCopy. */
export interface CopyAction {
  readonly src: string;
  readonly dest: string;
  readonly owner: ChownOpt | null;
  readonly mode: number | null; // null: keep
  readonly modeStr: string; // symbolic form such as u+rw,go-w; empty: none
  readonly followSymlink: boolean;
  readonly dirCopyContents: boolean;
  readonly attemptUnpack: boolean; // attemptUnpackDockerCompatibility
  readonly createDestPath: boolean;
  readonly allowWildcard: boolean;
  readonly allowEmptyWildcard: boolean;
  readonly timestampNs: bigint | null; // null: keep
  readonly includePatterns: readonly string[];
  readonly excludePatterns: readonly string[];
  readonly alwaysReplaceExistingDestPaths: boolean;
  readonly requiredPaths: readonly string[];
}

/** Copies one path as it is. */
export const PLAIN_COPY: CopyAction = {
  src: "",
  dest: "",
  owner: null,
  mode: null,
  modeStr: "",
  followSymlink: false,
  dirCopyContents: false,
  attemptUnpack: false,
  createDestPath: false,
  allowWildcard: false,
  allowEmptyWildcard: false,
  timestampNs: null,
  includePatterns: [],
  excludePatterns: [],
  alwaysReplaceExistingDestPaths: false,
  requiredPaths: [],
};

export interface ChownOpt {
  readonly user: UserOpt | null;
  readonly group: UserOpt | null;
}
/** input: the vertex input (or action result) whose /etc/passwd and /etc/group resolve the name; null is scratch. */
export type UserOpt =
  | { readonly kind: "id"; readonly id: number }
  | { readonly kind: "name"; readonly name: string; readonly input: number | null };

/** Inputs in order; the result is their layers, concatenated. */
export interface MergeOp {
  readonly kind: "merge";
  readonly inputs: readonly (number | null)[];
}
/** The difference from lower to upper. null is scratch. */
export interface DiffOp {
  readonly kind: "diff";
  readonly lower: number | null;
  readonly upper: number | null;
}
/** Builds a definition that one of its inputs holds in a file. */
export interface BuildOp {
  readonly kind: "build";
  readonly builder: number; // -1: the solver of this worker
  readonly inputs: Readonly<Record<string, number>>; // names to inputs of the vertex
  readonly attrs: Attrs;
}
/** Which input of a BuildOp has the file, and how it is called unless the attribute "llbbuild.filename" says otherwise. */
export const BUILD_INPUT = "buildkit.llb.definition";
export const BUILD_FILENAME_ATTR = "llbbuild.filename";

/** Output n is the input outputs[n]. */
export interface PassthroughOp {
  readonly kind: "passthrough";
  readonly id: string;
  readonly outputs: readonly number[];
}

/** OCI names of os and architecture; variant "" or absent if there is none. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
}

/** "linux/arm64/v8" and the like. */
export function formatPlatform(platform: Platform): string {
  return `${platform.os}/${platform.architecture}${platform.variant ? `/${platform.variant}` : ""}`;
}

/** "windows(10.0.17763)/amd64": with the version where there is one. */
export function formatPlatformAll(platform: Platform): string {
  const text = formatPlatform(platform);
  if (platform.osVersion === undefined || platform.osVersion === "") return text;
  return text.replace(platform.os, `${platform.os}(${platform.osVersion})`);
}
