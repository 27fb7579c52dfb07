// What an engine is given and what it gives back, as data: it never looks at the environment, a command line, a terminal or the user
// itself. Flags become these values in bin/; callers without flags start from buildRequest().

import type { ImageTools } from "./images/contract.ts";
import type { CheckOutcome } from "../../cache/check.ts";
import type { Measure } from "../../cache/collect.ts";
import type { OpenStore } from "../../cache/store.ts";
import type { HostTrust } from "../../cache/registry/certificates.ts";
import type { S3Credentials } from "../../cache/remote-cache/s3-calls.ts";
import type { DocumentInputs, Scan } from "../../worker/sbom/contract.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { Definition, Vertex } from "../../solver/graph/definition.ts";
import type { StepLeft } from "../../solver/graph/error.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { ExecOp, Platform, SourceOp } from "../../solver/graph/op.ts";
import type { Descriptor, Entitlement, ImageConfig } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { ExplainedBuild, TraceRequest } from "../../solver/solver.ts";
import type { Container } from "../../worker/contract.ts";
import type { StepConditions } from "../../worker/step-conditions.ts";
import type { GitMetadata } from "../../worker/sources/git.ts";
import type { LookAnswer, TreeQuestion } from "../../worker/keeper/messages.ts";

export type {
  ExecOutcome,
  LookAnswer as TreeAnswer,
  TreeEntry,
  TreeQuestion,
} from "../../worker/keeper/messages.ts";
export type { Container, ContainerProcess } from "../../worker/contract.ts";
export type { ExecControl, ProcessIo } from "../../worker/keeper/contract.ts";
import type { BuiltImageFrom, CompareRequest, Comparison, Subject } from "./compare/contract.ts";
import type { ResourceLimits } from "../../worker/cgroup-limits.ts";
import type { Annotation } from "../../exporters/annotations.ts";
import type { AttestationTerms } from "../../exporters/attestation/grammar.ts";
import type { FrontendCall } from "../../exporters/attestation/provenance.ts";
import type { Output } from "../../exporters/output-grammar.ts";
import type { Signing } from "../../exporters/signature/contract.ts";
import type { CacheFrom, CacheLocation, CacheTo, GhaLocation } from "./cache-location.ts";
import type { Lock, LockTerms } from "./lock.ts";
import type { SignaturePolicy } from "./signature-policy.ts";
import type { SourcePolicy } from "./source-policy.ts";
import type { CheckResult, FrontendInput, Outline, ResolvedImage, Target } from "../../frontend/contract.ts";

/** Who builds: the account that the keeper is started for. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
}

/** How registries are reached, as flags and files say. */
export interface RegistrySettings {
  /** Hosts spoken to without TLS, or with a certificate nobody vouches for. */
  readonly insecure: readonly string[];
  readonly mirrors: readonly { readonly host: string; readonly mirror: string }[];
  /** Directories with a folder for each registry (certs.d), the first that has one counts; absolute. */
  readonly hostDirs: readonly string[];
  /** containers-registries.conf(5): the first of `main` that is there, then the directories of `more`. */
  readonly conf: { readonly main: readonly string[]; readonly more: readonly string[] };
  /** How single hosts are spoken to, registries and mirrors, by host[:port]; beside what files say. */
  readonly hosts?: ReadonlyMap<string, RegistryHost>;
}

/** What a configuration says of one host, in BuildKit's terms. Paths are absolute. */
export type RegistryHost = HostTrust;

/** Name servers for steps, in place of this machine's. A part that is empty stays this machine's. */
export interface DnsSettings {
  readonly nameservers: readonly string[];
  readonly options: readonly string[];
  readonly searchDomains: readonly string[];
}

/** The user's credentials for external build caches; used if the request contains none. */
export interface CacheKeys {
  /** `name`: the cache they are for. Rejects with REGISTRY_DENIED if there are none. */
  readonly s3: (name: string) => Promise<S3Credentials>;
  /** The cache of the GitHub Actions job this is. */
  readonly actions: () => Promise<GhaLocation>;
}

/** Settings of the machine and the user, shared by all requests to an engine. */
export interface EngineConfig {
  /** Directory of the store, absolute. */
  readonly root: string;
  readonly user: User;
  /** Environment of helper programs, which also specifies proxies and certificate authorities. */
  readonly env: Environment;
  /** Also report notes about the machine. */
  readonly verbose: boolean;
  readonly registries: RegistrySettings;
  readonly cacheKeys: CacheKeys;
  /** null or omitted: this machine's. */
  readonly dns?: DnsSettings | null;
  /** Where steps are that ask for no network; omitted: in networks of their own. */
  readonly network?: "sandbox" | "host" | "none";
  /** Steps at one time, of all builds; null or omitted: as many as this machine should take. */
  readonly maxParallelism?: number | null;
  /** What is different for steps on purpose, by which results may not be kept: in a store of its own. Omitted: nothing. */
  readonly stepConditions?: StepConditions | null;
  /** How large the store may become where a build says nothing; omitted: a share of the disk. */
  readonly maxStorage?: StorageLimit | null;
  /** Version of this program, as documents name it; omitted: not known. */
  readonly version?: () => string;
  /** Receives notices about the machine's configuration; the same notice may be repeated. */
  readonly notice: (text: string) => void;
}

/** Where helpers such as newuidmap and pasta are looked for: PATH, and the administrators' directories users may not have in it. */
export function searchPath(env: Environment): string {
  return `${env.PATH ?? ""}:/usr/sbin:/sbin`;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the main context comes from. */
export type ContextSource =
  | { readonly kind: "directory"; readonly path: string } // absolute; known to be a directory
  /** The session's directory MAIN_DIRECTORY, which may be elsewhere. `key`: tells it from others, for --explain. */
  | { readonly kind: "client"; readonly key: string }
  /** git or http(s), as written. `subdirectory`: of an archive. */
  | { readonly kind: "remote"; readonly url: string; readonly subdirectory?: string }
  | { readonly kind: "input"; readonly name: string } // of the request's inputs
  /** An archive or a Dockerfile that the client sends, once. */
  | {
      readonly kind: "upload";
      /** Its URL in the client's words. */
      readonly address: string;
      readonly open: (options: { readonly signal: AbortSignal }) => AsyncIterable<Uint8Array>;
      readonly subdirectory?: string;
    }
  /** No files at all: `tsbuild build - < Dockerfile`. */
  | { readonly kind: "empty" }
  /** A tar (maybe compressed) that came through standard input or by http(s) and lies in a file of ours now.
   *  `modifiedSeconds`: what its server says of its time; `subdirectory`: what of it is the context, omitted: all. */
  | {
      readonly kind: "archive";
      readonly path: string;
      readonly modifiedSeconds: number | null;
      readonly subdirectory?: string;
    }
  /** What came by http(s) and is no archive: a directory with this file, called HTTP_CONTEXT_FILE. */
  | { readonly kind: "file"; readonly data: Uint8Array; readonly modifiedSeconds: number | null };

/** Where the Dockerfile comes from. */
export type DockerfileSource =
  | { readonly kind: "default" } // Dockerfile in the context
  | { readonly kind: "path"; readonly path: string } // as written: relative to the working directory, or to a context elsewhere
  | { readonly kind: "remote"; readonly url: string } // http(s)
  | { readonly kind: "client"; readonly name: string; readonly path: string } // in another directory of the session
  | { readonly kind: "input"; readonly name: string; readonly path: string } // in one of the request's inputs
  | { readonly kind: "bytes"; readonly data: Uint8Array }; // standard input

export interface Ulimit {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}
export interface ExtraHost {
  readonly host: string;
  readonly ip: string;
}
/** --call: what to do with the Dockerfile. ignoreStatus: warnings of a check do not make the exit code 1. */
export interface CallRequest {
  readonly name: "build" | "check" | "outline" | "targets";
  readonly format: "text" | "json";
  readonly ignoreStatus: boolean;
}

/** What holds for all graphs of one build, wherever they come from. */
export interface BuildTerms {
  readonly tags: readonly string[]; // as written; the engine normalizes and checks them
  readonly outputs: readonly Output[]; // --push and --load are folded in
  readonly annotations: readonly Annotation[];
  readonly allow: readonly Entitlement[];
  /** What each step may use at most; null: no limits. */
  readonly limits: ResourceLimits | null;
  /** OCI runtime for the steps, a name or an absolute path; null: the built-in sandbox. */
  readonly ociRuntime: string | null;
  readonly reproducible: boolean;
  readonly cacheTo: readonly CacheTo[];
  /** What sources the build may use, and which ones in place of others. */
  readonly sourcePolicies: readonly SourcePolicy[];
  /** Judges each source that the policies let pass, before it is resolved or used; null: nobody does. */
  readonly verifySource: VerifySource | null;
  /** What references stand for; null: for what they stand for now. */
  readonly lock: LockTerms | null;
  /** What is to be said of the results; null: nothing. */
  readonly attestations: AttestationTerms | null;
  /** What base images have to be signed by; left out: nothing is asked for. */
  readonly signaturePolicy?: SignaturePolicy | null;
  /** How exported images are signed; left out: they are not. */
  readonly signings?: readonly Signing[];
  /** The client's side: directories, secrets, agents, credentials, outputs. */
  readonly session: Session;
}

/** A judgement about a source. `metadata`: what was asked for about it before; null: nothing was. */
export type VerifySource = (
  judged: {
    readonly source: SourceOp;
    readonly platform: Platform | null;
    readonly metadata: SourceMetadata | null;
  },
  options: { readonly signal: AbortSignal },
) => Promise<SourceVerdict>;

export type SourceVerdict =
  | { readonly kind: "allow" }
  /** `action`: the verdict in the judge's word. */
  | { readonly kind: "deny"; readonly action: string; readonly cause: unknown }
  /** Another one is to be judged and used. */
  | { readonly kind: "convert"; readonly source: SourceOp }
  /** More is to be known of the source. */
  | { readonly kind: "describe"; readonly source: SourceOp; readonly question: ResolveOptions };

/** What a source stands for now. */
export type DescribeSource = (
  source: SourceOp,
  question: ResolveOptions,
  options: { readonly signal: AbortSignal },
) => Promise<SourceMetadata>;

/** Everything `tsbuild build` was asked: the terms, and what the Dockerfile frontend is called with. */
export interface BuildRequest extends BuildTerms {
  readonly context: ContextSource;
  readonly dockerfile: DockerfileSource;
  readonly target: string | null;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly labels: ReadonlyMap<string, string>;
  /** --build-context: name to URL as written, layout with an absolute path, "local:NAME" (a session directory), or "input:NAME". */
  readonly buildContexts: ReadonlyMap<string, string>;
  /** Results of other builds, by the names that contexts refer to. */
  readonly inputs: ReadonlyMap<string, FrontendInput>;
  readonly noCache: boolean;
  readonly noCacheFilter: readonly string[];
  readonly platforms: readonly Platform[]; // empty: this machine's
  readonly pull: boolean;
  readonly network: "default" | "host" | "none";
  readonly extraHosts: readonly ExtraHost[];
  readonly shmSizeBytes: number | null;
  readonly ulimits: readonly Ulimit[];
  readonly cgroupParent: string;
  /** "git": modes of context files are 755 or 644, as git keeps them. */
  readonly contextMode: "git" | null;
  readonly call: CallRequest;
  /** Caches to import, asked in this order. */
  readonly cacheFrom: readonly CacheFrom[];
  /** The request in the words of BuildKit's frontend, for provenance. */
  readonly frontendArgs: Readonly<Record<string, string>>;
}

/** What came out of a build. */
export interface BuildReport {
  /** Manifest or index; null when no image was made (only files, or a call). */
  readonly imageDigest: Digest | null;
  /** Image config, for a result of one platform. */
  readonly configDigest: Digest | null;
  readonly descriptor: Descriptor | null;
  /** Of each output in the order of the request: manifest or index, null for files. */
  readonly outputs: readonly (Descriptor | null)[];
  /** As the user wrote them. */
  readonly names: readonly string[];
  /** For --metadata-file: buildx's keys (containerimage.digest, image.name…). */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** The answer of --call, null for a build. */
  readonly answer: CallAnswer | null;
}

/** Of outputs without an image. */
export const EMPTY_REPORT: BuildReport = {
  imageDigest: null,
  configDigest: null,
  descriptor: null,
  outputs: [],
  names: [],
  metadata: {},
  answer: null,
};

export type CallAnswer =
  | { readonly kind: "check"; readonly result: CheckResult }
  | { readonly kind: "outline"; readonly outline: Outline; readonly source: SourceText }
  | { readonly kind: "targets"; readonly targets: readonly Target[]; readonly source: SourceText };

export interface SourceText {
  readonly file: string;
  readonly text: string;
  /** The file as a step that reads it, where a client can use that: for a directory of its own, or a repository. */
  readonly origin?: Definition;
}

/** `tsbuild run`. */
export interface RunRequest {
  readonly image: string;
  readonly args: readonly string[]; // empty: the image's CMD
  readonly entrypoint: string | null; // null: the image's; "": none
  readonly env: readonly string[]; // NAME=value, in order
  readonly volumes: readonly Volume[];
  readonly workdir: string | null;
  readonly user: string | null;
  readonly hostname: string | null;
  readonly name: string | null;
  readonly network: "default" | "host" | "none";
  readonly readonlyRoot: boolean;
  readonly interactive: boolean;
  readonly tty: boolean;
  readonly platform: Platform | null;
  readonly pull: "missing" | "always" | "never";
  readonly extraHosts: readonly ExtraHost[];
  readonly shmSizeBytes: number | null;
  readonly ulimits: readonly Ulimit[];
  readonly cgroupParent: string;
  readonly limits: ResourceLimits | null;
  readonly ociRuntime: string | null;
  readonly tmpfs: readonly { readonly target: string; readonly sizeBytes: number | null }[];
}
/** A bind mount of this machine into a run. source is absolute and exists. */
export interface Volume {
  readonly source: string;
  readonly target: string;
  readonly readonly: boolean;
}

/** How large the store may become: bytes, a share of its disk (0 to 1), or without limit. */
export type StorageLimit =
  | { readonly kind: "bytes"; readonly bytes: number }
  | { readonly kind: "share"; readonly share: number }
  | { readonly kind: "unlimited" };

/** How a store is opened: as for openStore. */
export interface StoreOpening {
  readonly repair?: boolean;
  readonly tidying?: boolean;
  /** Told what had to be mended. Whoever comes first is: later openings find nothing wrong any more. */
  readonly onMended?: (what: string) => void;
}

export interface EngineOptions {
  readonly signal: AbortSignal;
  readonly emit: Emit;
}
export interface EngineBuildOptions extends EngineOptions {
  /** Called once a Dockerfile has been read, so that errors and warnings can be shown with its lines. */
  readonly onSource: (source: SourceText) => void;
  /** How large the store may become; left out: a share of the disk. */
  readonly maxStorage?: StorageLimit;
  /** Called when the steps have ended, well or not: which ran, and why. */
  readonly onExplained?: (build: ExplainedBuild) => void;
  /** What failed commands wrote is kept until the build ends (Bridge.failureOf); left out: false. */
  readonly keepsFailed?: boolean;
  /** Called when the results are there, before they are exported: the function gives the provenance of each, with all that is known. Left out:
   *  nobody wants to know. */
  readonly onProvenance?: (make: MakeProvenance) => void;
  /** Called when the outputs are written, if there is a lock: the entries that the build used, with what it added. */
  readonly onLocked?: (used: Lock) => void;
  /** Called with each graph that is solved in place of another one, since a policy has converted sources of it. */
  readonly onConverted?: (definition: Definition) => void;
}
export type MakeProvenance = (mode: "min" | "max") => Promise<readonly ResultProvenance[]>;

/** Provenance of one result. */
export interface ResultProvenance {
  /** null: the only one. */
  readonly platform: Platform | null;
  readonly predicateType: string;
  /** JSON text. */
  readonly predicate: string;
}
/** A terminal that a command is attached to. */
export interface Terminal {
  readonly size: () => { readonly rows: number; readonly columns: number };
  /** Calls back for each change of size; returns what ends that. */
  readonly onResize: (listener: () => void) => () => void;
}
export interface EngineRunOptions extends EngineOptions {
  /** For a request with `tty`. */
  readonly terminal: Terminal | null;
  /** Bytes for the command's standard input; null: it reads nothing. */
  readonly stdin: AsyncIterable<Uint8Array> | null;
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
  /** All is there, and the command starts next. */
  readonly onReady: () => void;
  /** Credentials for a pull. */
  readonly session: Session;
}
export interface EngineTransferOptions extends EngineOptions {
  readonly session: Session;
}

export interface MountsExported {
  readonly reports: readonly MountReport[];
  readonly sentBytes: number;
}
/** isKept: the mount had content already, which stays. */
export type MountsImported = readonly {
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  readonly isKept: boolean;
}[];

/** A lazy result of a build's bridge. */
export interface Ref {
  readonly definition: Definition;
}

/** One image to be exported. */
export interface RefImage {
  readonly platform: Platform;
  readonly ref: Ref;
  readonly config: ImageConfig;
  /** Number of history entries at the start that belong to the base image. */
  readonly baseHistory: number;
}

/** What a frontend says of its result beside the images. */
export interface ResultWords {
  /** For all outputs that are images; those of an output come on top. */
  readonly annotations: readonly Annotation[];
  /** Names, joined with commas, for outputs that take the frontend's; null: it has none. */
  readonly imageName: string | null;
  /** Told to the client when the result has been exported. */
  readonly response: Readonly<Record<string, string>>;
}
export const NO_WORDS: ResultWords = { annotations: [], imageName: null, response: {} };

/** What a frontend comes to: an image per platform. */
export interface BridgeResult {
  readonly images: readonly RefImage[];
  readonly multiPlatform: boolean; // true: the result is an index
  readonly words: ResultWords;
  /** SOURCE_DATE_EPOCH, for outputs that have none of their own. */
  readonly sourceDateEpoch: number | null;
  /** For --explain; null: the build is not recorded. */
  readonly trace: TraceRequest | null;
  /** Called when it has been exported. */
  readonly onExported: (() => void) | null;
  /** What the frontend was called with that made it, for provenance; null: no frontend of this build did. */
  readonly call: FrontendCall | null;
}

/** A call of the Dockerfile frontend: a result, or an answer about the Dockerfile. */
export type FrontendOutcome =
  | { readonly kind: "result"; readonly result: BridgeResult }
  | { readonly kind: "answer"; readonly answer: CallAnswer };

/** One build as its frontends see it: graphs in, lazy results out, any number of them, and one of them exported. BuildKit's LLBBridge. Everything
 *  throws BuildError for what the user is to be told. */
export interface Bridge {
  /** Reads and converts a Dockerfile. Steps run only as far as that needs their files. */
  dockerfile(request: BuildRequest): Promise<FrontendOutcome>;
  /** A graph from elsewhere. */
  define(definition: Definition, options: DefineOptions): Promise<Ref>;
  /** Runs all steps of a result. */
  evaluate(ref: Ref): Promise<void>;
  /** Looks at a path in a result, whose steps run first. Throws CONTEXT_PATH_MISSING. */
  look(ref: Ref, path: string, question: TreeQuestion): Promise<LookAnswer>;
  /** Mounts results, for processes on them. Ends with the build, if it is not disposed before. */
  openContainer(request: ContainerRequest): Promise<Container>;
  /** What the step left that failed with this error of this bridge; null: nothing is known of it. */
  failureOf(error: unknown): FailedStep | null;
  /** What a source stands for now, as far as the policies of the build let it pass. Throws SOURCE_DENIED. */
  resolveSource(source: SourceOp, options: ResolveSourceOptions): Promise<ResolvedSource>;
  /** Makes the outputs and caches of the build. `outputs`: beside those of its terms. */
  export(result: BridgeResult, more?: { readonly outputs: readonly Output[] }): Promise<BuildReport>;
}

/** A container. `op`: its mounts, network, hosts and host name; what runs in it comes later. */
export interface ContainerRequest {
  readonly op: ExecOp;
  /** What the mounts' inputs stand for. */
  readonly inputs: readonly Ref[];
  /** PATH of processes that have none; null: that of Linux. */
  readonly path: string | null;
}

/** A step that failed, and its results by mount or input; null where there are none. As StepLeft. */
export interface FailedStep {
  readonly vertex: Vertex | null;
  readonly inputs: readonly (Ref | null)[];
  readonly mounts: readonly (Ref | null)[];
  readonly subject: StepLeft["subject"];
}

export interface DefineOptions {
  readonly cacheFrom: readonly CacheFrom[];
  /** For this graph beside those of the build. */
  readonly sourcePolicies?: readonly SourcePolicy[];
}
export interface ResolveSourceOptions extends ResolveOptions {
  readonly sourcePolicies?: readonly SourcePolicy[];
}
/** `source`: the one that is to be used, where a policy has converted it. */
export interface ResolvedSource {
  readonly source: SourceOp;
  readonly found: SourceMetadata;
}
export interface ResolveOptions {
  readonly platform: Platform | null; // null: this machine's
  /** As of `image.resolvemode`; "": the build's. */
  readonly resolveMode: string;
  /** Name of the step. */
  readonly name: string;
  /** Objects of a git source are wanted too. */
  readonly gitObjects: boolean;
}
export type SourceMetadata =
  | { readonly kind: "image"; readonly image: ResolvedImage }
  | { readonly kind: "git"; readonly git: GitMetadata }
  | {
      readonly kind: "http";
      readonly digest: Digest;
      readonly filename: string;
      readonly modifiedSeconds: number | null;
    }
  /** Nothing is known beforehand. */
  | { readonly kind: "other" };

/** All rooms wired together. Disposed: the keeper, its mounts and the store are closed, in reverse order. */
export interface Engine extends AsyncDisposable {
  readonly store: OpenStore;
  build(request: BuildRequest, options: EngineBuildOptions): Promise<BuildReport>;
  /** A build that `work` drives; what it opened is closed when that has ended. */
  drive<T>(terms: BuildTerms, options: EngineBuildOptions, work: (bridge: Bridge) => Promise<T>): Promise<T>;
  /** Runs a command in an image and returns its exit code (128 + n when signal n ended it). */
  run(request: RunRequest, options: EngineRunOptions): Promise<number>;
  /** Fetches an image into the local image store under its name; platform null: this machine's. */
  pull(reference: string, platform: Platform | null, options: EngineTransferOptions): Promise<Descriptor>;
  /** Sends an image of the local image store to the registry its name says; platform null: all that the image has. */
  push(reference: string, platform: Platform | null, options: EngineTransferOptions): Promise<Descriptor>;
  /** Writes images of the local image store into one archive. */
  save(request: SaveRequest, options: EngineTransferOptions): Promise<void>;
  /** The packages in an image of the local image store; platform null: this machine's, or the only one. */
  scan(reference: string, platform: Platform | null, options: EngineTransferOptions): Promise<ImageScan>;
  /** Reads, copies and makes images anywhere: images/tools.ts. `title`: of the step that is shown. */
  images<T>(
    title: string,
    options: EngineTransferOptions,
    work: (tools: ImageTools) => Promise<T>,
  ): Promise<T>;
  /** Compares two images or trees, file by file, and names causes: bin/engine/compare/. */
  compare(request: CompareRequest, options: EngineTransferOptions): Promise<Comparison>;
  /** What the provenance of an image says of its build; null: it has none, or it is no image. */
  builtFrom(
    subject: Subject,
    platform: Platform | null,
    options: EngineTransferOptions,
  ): Promise<BuiltImageFrom | null>;
  /** Checks the store, and mends it. */
  check(options: {
    readonly repair: boolean;
    readonly signal: AbortSignal;
    readonly onWait?: (holder: string) => void;
  }): Promise<CheckOutcome>;
  /** Contents of cache mounts out of the store and into it: bin/engine/cache-mounts.ts. */
  exportMounts(
    at: CacheLocation,
    ids: readonly string[] | null,
    options: EngineTransferOptions,
  ): Promise<MountsExported>;
  importMounts(
    at: CacheLocation,
    ids: readonly string[] | null,
    options: EngineTransferOptions,
  ): Promise<MountsImported>;
  /** Adds up directories of the store that hold files of foreign owners. */
  readonly measure: Measure;
  /** Removes layer directories whose records are gone; they may hold files of foreign owners. */
  removeDirectories(paths: readonly string[], options: EngineOptions): Promise<void>;
}

/** What was found in an image, and what its documents say besides. */
export interface ImageScan {
  readonly scan: Scan;
  readonly inputs: Omit<DocumentInputs, "toolVersion" | "namespace">;
}

export interface SaveRequest {
  /** Names or IDs. */
  readonly images: readonly string[];
  /** null: all local ones. */
  readonly platform: Platform | null;
  /** Path of the archive; null: it is sent to the client. */
  readonly path: string | null;
}

export interface MountReport {
  readonly id: string;
  readonly files: number;
  readonly bytes: number;
  /** Names that changed meanwhile, or are too deep. */
  readonly leftOut: number;
  /** Why it was not packed, so that the cache keeps its old content: exclusive use by a step, or its size. null: it was packed. */
  readonly left: string | null;
}
