import type { Definition } from "../solver/graph/definition.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Attrs, Platform, SourceOp } from "../solver/graph/op.ts";
import { type SourceRange } from "../solver/graph/error.ts";
import type { ImageConfig } from "../solver/graph/request.ts";
/** What a Dockerfile build can be asked; the words are buildx's. */
export interface FrontendOptions {
    readonly dockerfile: {
        readonly name: string;
        readonly data: Uint8Array;
    };
    /** .dockerignore (or NAME.dockerignore) of the main context; null: none. name is for messages. */
    readonly dockerignore: {
        readonly name: string;
        readonly data: Uint8Array;
    } | null;
    /** The main context: `local://context` for a directory, or git/http(s) source. */
    readonly context: SourceOp;
    readonly target: string | null;
    readonly buildArgs: ReadonlyMap<string, string>;
    readonly labels: ReadonlyMap<string, string>;
    /** Platforms asked for with --platform; empty: the build platform, result not an index. */
    readonly platforms: readonly Platform[];
    readonly buildPlatform: Platform;
    /** --build-context: name → docker-image://…, oci-layout://…, git or http(s) URL, or `local:NAME` (session directory). */
    readonly namedContexts: ReadonlyMap<string, string>;
    /** .dockerignore files of the `local:` contexts, by the context's name. */
    readonly namedIgnores?: ReadonlyMap<string, {
        readonly name: string;
        readonly data: Uint8Array;
    }>;
    readonly noCache: boolean;
    readonly noCacheFilter: readonly string[];
    readonly extraHosts: readonly {
        readonly host: string;
        readonly ip: string;
    }[];
    readonly network: "default" | "host" | "none";
    readonly shmSizeBytes: number | null;
    readonly ulimits: readonly {
        readonly name: string;
        readonly soft: number;
        readonly hard: number;
    }[];
    readonly cgroupParent: string;
    readonly hostname: string | null;
    /** SOURCE_DATE_EPOCH given as build argument or environment; null: not set. */
    readonly sourceDateEpoch: number | null;
}
export interface ResolvedImage {
    readonly digest: Digest;
    readonly config: Uint8Array;
}
/** What the frontend may ask the outside. */
export interface FrontendHost {
    /** identifier: docker-image://REF or oci-layout://PATH[:tag][@digest] as in a SourceOp. Throws IMAGE_UNKNOWN, PLATFORM_UNSUPPORTED… */
    resolveImage(identifier: string, attrs: Attrs, platform: Platform, options: {
        readonly signal: AbortSignal;
        readonly vertexName: string;
    }): Promise<ResolvedImage>;
    /** A file (≤ 16 MiB) out of a source that has to be fetched first (git, http, image), or null when it is not there. */
    readFile(source: Definition, path: string, options: {
        readonly signal: AbortSignal;
    }): Promise<Uint8Array | null>;
    /** Time of a git or http(s) source in seconds: of the commit, or Last-Modified; null: it has none. For SOURCE_DATE_EPOCH=context. */
    sourceTime?(source: SourceOp, options: {
        readonly signal: AbortSignal;
    }): Promise<number | null>;
}
export interface ConvertedImage {
    readonly platform: Platform;
    readonly definition: Definition;
    readonly config: ImageConfig;
}
export interface CheckWarning {
    readonly rule: string;
    readonly description: string;
    readonly url: string;
    readonly detail: string;
    readonly at: SourceRange;
}
export interface Converted {
    readonly images: readonly ConvertedImage[];
    readonly multiPlatform: boolean;
    readonly warnings: readonly CheckWarning[];
    readonly sourceDateEpoch: number | null;
}
/** Answers of --call, ready to be printed as JSON (buildx's field names). */
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
    readonly ssh: readonly {
        readonly name: string;
        readonly required: boolean;
        readonly at: SourceRange;
    }[];
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
    readonly error: Error | null;
    readonly source: {
        readonly file: string;
        readonly text: string;
    };
}
export interface CallOptions {
    readonly signal: AbortSignal;
}
/** Dockerfile to definitions and image configs, one for each platform. Throws BuildError with the place in the file. */
export declare function convert(options: FrontendOptions, host: FrontendHost, call: CallOptions): Promise<Converted>;
/** --call=check: what the build checks find, and the error a build would end with before its first step. */
export declare function check(options: FrontendOptions, host: FrontendHost, call: CallOptions): Promise<CheckResult>;
/** --call=outline: arguments, secrets and agents of the target. Throws BuildError. */
export declare function outline(options: FrontendOptions, host: FrontendHost, call: CallOptions): Promise<Outline>;
/** --call=targets: the stages. Throws BuildError for what is no Dockerfile. */
export declare function targets(options: FrontendOptions, _host: FrontendHost, call: CallOptions): Promise<readonly Target[]>;
