// What an engine is given and what it gives back, as data: it never looks at the environment, a command line, a terminal or the user
// itself. Flags become these values in bin/; callers without flags start from buildRequest().

import type { DocumentInputs, Scan } from "../../worker/sbom/contract.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { Definition } from "../../solver/graph/definition.ts";
import type { Emit } from "../../solver/graph/event.ts";
import type { Platform, SourceOp } from "../../solver/graph/op.ts";
import type { Descriptor, Entitlement } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import type { ExplainedBuild } from "../../solver/solver.ts";

export type {
  ExecOutcome,
  LookAnswer as TreeAnswer,
  TreeEntry,
  TreeQuestion,
} from "../../worker/keeper/messages.ts";
export type { Container, ContainerProcess } from "../../worker/contract.ts";
export type { ExecControl, ProcessIo } from "../../worker/keeper/contract.ts";
import type { ResourceLimits } from "../../worker/cgroup-limits.ts";
import type { Annotation } from "../../exporters/annotations.ts";
import type { AttestationTerms } from "../../exporters/attestation/grammar.ts";
import type { Output } from "../../exporters/output-grammar.ts";
import type { Signing } from "../../exporters/signature/contract.ts";
import type { CacheFrom, CacheTo } from "./cache-location.ts";
import type { Lock, LockTerms } from "./lock.ts";
import type { SignaturePolicy } from "./signature-policy.ts";
import type { SourcePolicy } from "./source-policy.ts";
import type { CheckResult, FrontendInput, Outline, Target } from "../../frontend/contract.ts";
import type { ResolveOptions, SourceMetadata } from "./source-metadata.ts";

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
export type MakeProvenance = (
  mode: "min" | "max",
  /** Of SLSA; left out: v1. */
  version?: "v0.2" | "v1",
) => Promise<readonly ResultProvenance[]>;

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
