import type { Digest } from "./digest.ts";
/** A place in a source text; lines and columns count from 1, `end` is behind the last character. */
export interface Position {
    readonly line: number;
    readonly column: number;
}
export interface SourceRange {
    readonly file: string;
    readonly start: Position;
    readonly end: Position;
}
/** Stable API: programs may compare these. */
export type ErrorCode = "USAGE" | "DOCKERFILE_SYNTAX" | "DOCKERFILE_UNSUPPORTED" | "DOCKERFILE_MISSING" | "STAGE_UNKNOWN" | "TARGET_UNKNOWN" | "PLATFORM_UNSUPPORTED" | "CONTEXT_PATH_MISSING" | "CONTEXT_MISSING" | "CONTEXT_CHANGED" | "COPY_FAILED" | "ARCHIVE_INVALID" | "SOURCE_FAILED" | "CHECKSUM_MISMATCH" | "EXEC_FAILED" | "MOUNT_INVALID" | "SECRET_MISSING" | "ENTITLEMENT_DENIED" | "USER_UNKNOWN" | "SANDBOX_UNAVAILABLE" | "SYSCALL" | "DIGEST_INVALID" | "DIGEST_MISMATCH" | "REFERENCE_INVALID" | "STORE_CORRUPT" | "STORE_FULL" | "STORE_UNUSABLE" | "IMAGE_UNKNOWN" | "IMAGE_INVALID" | "REGISTRY_DENIED" | "REGISTRY_NOT_FOUND" | "REGISTRY_UNREACHABLE" | "REGISTRY_PROTOCOL" | "OUTPUT_INVALID" | "OUTPUT_FAILED" | "LIMIT_EXCEEDED" | "WORKER_UNREACHABLE" | "CHECKS_FAILED";
export interface ErrorDetail {
    readonly cause?: unknown;
    /** Where in the Dockerfile; printed as an excerpt with the range marked. */
    readonly at?: SourceRange | null;
    /** The step that failed. */
    readonly vertex?: Digest | null;
    /** What to do next, one sentence. */
    readonly hint?: string | null;
    /** Exit code of the failing command, for EXEC_FAILED. */
    readonly exitCode?: number | null;
}
/** Something a user caused or must act on. `message` is one sentence in the user's words. */
export declare class BuildError extends Error {
    readonly name = "BuildError";
    readonly code: ErrorCode;
    readonly at: SourceRange | null;
    readonly vertex: Digest | null;
    readonly hint: string | null;
    readonly exitCode: number | null;
    constructor(code: ErrorCode, message: string, detail?: ErrorDetail);
}
/** The same error with a source range and vertex, where it has none yet. */
export declare function locate(error: BuildError, at: SourceRange | null, vertex: Digest | null): BuildError;
/** A URL fit to be printed: user, password and query values are taken out. */
export declare function redactUrl(text: string): string;
/** Text from outside (registries, images) made fit for a terminal: no control characters, at most `max` characters. */
export declare function printable(text: string, max?: number): string;
