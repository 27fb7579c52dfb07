// The one error class for what a user can cause or must act on. Plain Error is for our own bugs.

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
export type ErrorCode =
  | "USAGE"
  | "DOCKERFILE_SYNTAX"
  | "DOCKERFILE_UNSUPPORTED"
  | "DOCKERFILE_MISSING"
  | "STAGE_UNKNOWN"
  | "TARGET_UNKNOWN"
  | "PLATFORM_UNSUPPORTED"
  | "CONTEXT_PATH_MISSING"
  | "CONTEXT_MISSING"
  | "CONTEXT_CHANGED"
  | "FILE_INVALID"
  | "COPY_FAILED"
  | "ARCHIVE_INVALID"
  | "SOURCE_FAILED"
  | "SOURCE_DENIED"
  | "NOT_LOCKED"
  | "CHECKSUM_MISMATCH"
  | "EXEC_FAILED"
  | "MOUNT_INVALID"
  | "SECRET_MISSING"
  | "ENTITLEMENT_DENIED"
  | "USER_UNKNOWN"
  | "SANDBOX_UNAVAILABLE"
  | "SYSCALL"
  | "DIGEST_INVALID"
  | "DIGEST_MISMATCH"
  | "REFERENCE_INVALID"
  | "STORE_CORRUPT"
  | "STORE_FULL"
  | "STORE_UNUSABLE"
  | "IMAGE_UNKNOWN"
  | "IMAGE_INVALID"
  | "SIGNATURE_INVALID"
  | "REGISTRY_DENIED"
  | "REGISTRY_NOT_FOUND"
  | "REGISTRY_UNREACHABLE"
  | "REGISTRY_PROTOCOL"
  | "OUTPUT_INVALID"
  | "OUTPUT_FAILED"
  | "LIMIT_EXCEEDED"
  | "WORKER_UNREACHABLE"
  | "BUILDER_UNREACHABLE"
  | "CHECKS_FAILED";

/** A Digest; its file throws errors of this one, so it is not imported here. */
type VertexDigest = `sha256:${string}`;

/** What a failed step left, for clients that look into it: layers of each (LayerId; its file imports this one), null for what has none. */
export interface StepLeft {
  /** Of a command by mount, else by input of the step. */
  readonly inputs: readonly (readonly string[] | null)[];
  /** As it left them: of a command by mount, of a file step by action. */
  readonly mounts: readonly (readonly string[] | null)[];
  /** What failed of it: an action of a file step, or reading an input for its cache key. null: the step as a whole. */
  readonly subject: { readonly kind: "file" | "cache"; readonly index: number } | null;
}

export interface ErrorDetail {
  readonly cause?: unknown;
  /** Where in the Dockerfile; printed as an excerpt with the range marked. */
  readonly at?: SourceRange | null;
  /** The step that failed. */
  readonly vertex?: VertexDigest | null;
  /** What to do next, one sentence. */
  readonly hint?: string | null;
  /** Exit code of the failing command, for EXEC_FAILED. */
  readonly exitCode?: number | null;
  readonly left?: StepLeft | null;
}

/** An error that a user caused or must act on. `message` is one sentence in the user's terms. Credentials in URLs are removed
 *  here, because messages go to terminals, logs, JSON and metadata (threat model S1, S2). */
export class BuildError extends Error {
  override readonly name = "BuildError";
  readonly code: ErrorCode;
  readonly at: SourceRange | null;
  readonly vertex: VertexDigest | null;
  readonly hint: string | null;
  readonly exitCode: number | null;
  readonly left: StepLeft | null;
  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(redactUrl(message), detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.at = detail.at ?? null;
    this.vertex = detail.vertex ?? null;
    this.hint = detail.hint ? redactUrl(detail.hint) : null;
    this.exitCode = detail.exitCode ?? null;
    this.left = detail.left ?? null;
  }
}

/** The same error with a source range and vertex, unless it has them. */
export function locate(error: BuildError, at: SourceRange | null, vertex: VertexDigest | null): BuildError {
  if (error.at !== null && error.vertex !== null) return error;
  return new BuildError(error.code, error.message, {
    cause: error.cause ?? error,
    at: error.at ?? at,
    vertex: error.vertex ?? vertex,
    hint: error.hint,
    exitCode: error.exitCode,
    left: error.left,
  });
}

/** The same error with what its step left. */
export function withLeft(error: BuildError, left: StepLeft): BuildError {
  const { code, message, cause, at, vertex, hint, exitCode } = error;
  return new BuildError(code, message, { cause: cause ?? error, at, vertex, hint, exitCode, left });
}

/** The sentence, with a proposal of another name in brackets, as BuildKit's frontend has it. */
export function withProposal({ message, hint }: BuildError): string {
  return hint?.startsWith("did you mean ") === true ? `${message} (${hint})` : message;
}

/** The text with the credentials of every URL in it replaced: user and password as BuildKit shows them
 *  ("https://xxxxx:xxxxx@host/", util/urlutil/redact.go), and values of query parameters that sign or unlock. Linear in the
 *  text: what may match ends at the first slash. */
export function redactUrl(text: string): string {
  if (!text.includes(":/")) return text;
  return (
    text
      // With a missing slash it is a path, which appears in errors as well.
      .replace(/:\/(?!\/)([^\s/?#"'`<>\\:]*):([^\s/?#"'`<>\\]*)@/g, ":/xxxxx:xxxxx@")
      // "oci-layout://name:tag@sha256:…" is no address of a user.
      .replace(/:\/\/([^\s/?#"'`<>\\]*)@(?!sha256:[0-9a-f]{64}(?![\w.-]))/g, (_, user: string) =>
        user.includes(":") ? "://xxxxx:xxxxx@" : "://xxxxx@",
      )
      .replace(SIGNED_QUERY, "$1xxxxx")
  );
}
/** A sentence's punctuation behind a value is not part of it. */
const SIGNED_QUERY =
  /([?&](?:(?:access_|private_|job_)?token|pass(?:word|wd)?|(?:client_)?secret|sig|(?:x-(?:amz|goog)-)?signature|x-amz-security-token|(?:api_?)?key)=)[^&#\s"'`<>\\]*?(?=[:;,.)]{0,3}(?:[&#\s"'`<>\\]|$))/gi;

/** Makes untrusted text (registries, images) safe for a terminal: no control characters, at most `max` characters. */
export function printable(text: string, max = 300): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
  const clean = text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\uFFFD");
  return clean.length > max ? `${clean.slice(0, max)}…` : clean;
}
