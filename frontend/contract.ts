// The contract of the frontend: what it is given, what it asks its host, and what it returns. Types only.

import type { Definition } from "../solver/graph/definition.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Attrs, Platform, SourceOp } from "../solver/graph/op.ts";
import type { SourceRange } from "../solver/graph/error.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
import type { DeclaredArgs } from "./declared.ts";

/** Options of a Dockerfile build, with buildx's names. */
export interface FrontendOptions {
  readonly dockerfile: { readonly name: string; readonly data: Uint8Array };
  /** .dockerignore (or NAME.dockerignore) of the main context; null: none. name is for messages. */
  readonly dockerignore: { readonly name: string; readonly data: Uint8Array } | null;
  /** The main context: `local://context` for a directory, a git or http(s) source, or the result of another build. */
  readonly context: SourceOp | FrontendInput;
  /** The context as written by the user, for names of steps. */
  readonly contextName?: string;
  readonly target: string | null;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly labels: ReadonlyMap<string, string>;
  /** Platforms given with --platform; empty: the build platform, and the result is not an index. */
  readonly platforms: readonly Platform[];
  readonly buildPlatform: Platform;
  /** "git": modes of context files are normalized as in git, to 755 or 644. Omitted: unchanged. */
  readonly contextMode?: "git";
  /** --build-context: name → docker-image://…, oci-layout://…, git or http(s) URL, `local:NAME` (session directory), or `input:NAME`. */
  readonly namedContexts: ReadonlyMap<string, string>;
  /** Results of other builds, for `input:NAME`. */
  readonly inputs?: ReadonlyMap<string, FrontendInput>;
  /** .dockerignore files of the `local:` contexts, by the context's name. */
  readonly namedIgnores?: ReadonlyMap<string, { readonly name: string; readonly data: Uint8Array }>;
  readonly noCache: boolean;
  readonly noCacheFilter: readonly string[]; // stage names
  readonly extraHosts: readonly { readonly host: string; readonly ip: string }[];
  readonly network: "default" | "host" | "none";
  readonly shmSizeBytes: number | null;
  readonly ulimits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
  readonly cgroupParent: string;
  readonly hostname: string | null;
  /** SOURCE_DATE_EPOCH if no build argument sets it; null: the Dockerfile may set it. */
  readonly sourceDateEpoch: number | null;
}

/** A result of another build: its graph, and the image config it has, if any. */
export interface FrontendInput {
  readonly definition: Definition;
  readonly config: Uint8Array | null;
}

export interface ResolvedImage {
  readonly digest: Digest; // of the manifest or index that the reference stands for
  readonly config: Uint8Array; // image config of the chosen platform
  /** Of the chosen platform's manifest; omitted: not known. */
  readonly manifest?: Digest;
  /** The digest exists only on this machine and is not shown. Omitted: false. */
  readonly isPrivate?: boolean;
  /** The image that is to be used in place of the one asked for, as an identifier; omitted: it is that one. */
  readonly identifier?: string;
}

/** Functions through which the frontend accesses images and sources. */
export interface FrontendHost {
  /** identifier: docker-image://REF or oci-layout://PATH[:tag][@digest] as in a SourceOp. Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED… */
  resolveImage(
    identifier: string,
    attrs: Attrs,
    platform: Platform,
    options: { readonly signal: AbortSignal; readonly vertexName: string },
  ): Promise<ResolvedImage>;
  /** A file (≤ 16 MiB) of a source that has to be fetched first (git, http, image), or null if it does not exist. */
  readFile(
    source: Definition,
    path: string,
    options: { readonly signal: AbortSignal },
  ): Promise<Uint8Array | null>;
  /** Time of a source in seconds: of the commit, Last-Modified, or the newest file of an archive; null: none. For
   *  SOURCE_DATE_EPOCH. */
  sourceTime?(source: SourceOp, options: { readonly signal: AbortSignal }): Promise<number | null>;
}

export interface ConvertedImage {
  readonly platform: Platform;
  readonly definition: Definition;
  readonly config: ImageConfig;
  /** Number of history entries at the start that belong to the base image. */
  readonly baseHistory: number;
  /** What the Dockerfile wants in bills of materials beside the image. */
  readonly scans: readonly ScanTarget[];
}

/** A stage, or the build context under the name "context". No two of one image have the same name, which is one part of a path. */
export interface ScanTarget {
  readonly name: string;
  readonly definition: Definition;
}

export interface CheckWarning {
  readonly rule: string;
  readonly description: string;
  readonly url: string;
  readonly detail: string;
  readonly at: SourceRange;
}

export interface Converted {
  readonly images: readonly ConvertedImage[]; // one a platform, in the order asked
  readonly multiPlatform: boolean; // true: the result is an index
  readonly warnings: readonly CheckWarning[];
  readonly sourceDateEpoch: number | null;
  readonly declared: DeclaredArgs;
}

/** Results of --call, ready to be printed as JSON (buildx's field names). */
export interface Outline {
  readonly name: string;
  readonly description: string;
  readonly args: readonly {
    readonly name: string;
    readonly value: string;
    readonly description: string;
    readonly at: SourceRange;
  }[];
  readonly secrets: readonly {
    readonly name: string;
    readonly required: boolean;
    readonly at: SourceRange;
  }[];
  readonly ssh: readonly { readonly name: string; readonly required: boolean; readonly at: SourceRange }[];
}

export interface Target {
  readonly name: string;
  readonly description: string;
  readonly default: boolean;
  readonly base: string;
  readonly platform: string;
  readonly at: SourceRange;
}

export interface CheckResult {
  readonly warnings: readonly CheckWarning[];
  readonly error: Error | null; // what a build of it would fail with
  readonly source: { readonly file: string; readonly text: string };
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** Called once with the requested frontend name that the built-in frontend implements. */
  readonly note?: (message: string) => void;
  /** Called with the findings of convert()'s build checks, whether it succeeds or throws. */
  readonly onWarnings?: (warnings: readonly CheckWarning[]) => void;
}
