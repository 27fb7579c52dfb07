// What was asked, checked and frozen: flags, environment and defaults become these values once, here in bin/.
// The engine gets them and never looks at the environment or the command line itself.

import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { CheckOutcome } from "../cache/check.ts";
import type { Measure } from "../cache/collect.ts";
import type { OpenStore } from "../cache/store.ts";
import type { CheckResult, Outline, Target } from "../frontend/frontend.ts";
import type { Digest } from "../solver/graph/digest.ts";
import type { Emit } from "../solver/graph/event.ts";
import type { Platform } from "../solver/graph/op.ts";
import type { Descriptor, Entitlement, Session } from "../solver/graph/request.ts";
import type { ExplainedBuild } from "../solver/solver.ts";
import type { ResourceLimits } from "../worker/cgroup-limits.ts";
import type { Annotation } from "../exporters/annotations.ts";
import type { Output } from "../exporters/output-grammar.ts";
import type { CacheFrom, CacheLocation, CacheTo } from "./cache-flags.ts";
import type { exportMountsTo, importMountsFrom } from "./engine-mounts.ts";

/** Settings of this machine and user, the same for every command. */
export interface Config {
  /** Directory of the store, absolute. */
  readonly root: string;
  /** Directory of Docker's client configuration (config.json with credentials), absolute. */
  readonly dockerConfigDir: string;
  /** The environment of the command; only bin/ reads it, and credential helpers run in it. */
  readonly env: Environment;
  readonly debug: boolean;
  readonly verbose: boolean;
}

/** Flags and environment to a Config. root: --root, TSBUILD_ROOT, else /var/lib/tsbuild for root and the user's data directory for others. */
export function readConfig(
  given: { readonly root: string | null; readonly debug: boolean; readonly verbose: boolean },
  env: Environment,
  cwd: string,
): Config {
  const home = env.HOME || homedir();
  const dataDir = env.XDG_DATA_HOME || join(home, ".local", "share");
  const root =
    given.root ||
    env.TSBUILD_ROOT ||
    (process.getuid?.() === 0 ? "/var/lib/tsbuild" : join(dataDir, "tsbuild"));
  return Object.freeze({
    root: resolve(cwd, root),
    dockerConfigDir: resolve(cwd, env.DOCKER_CONFIG || join(home, ".docker")),
    env,
    debug: given.debug,
    verbose: given.verbose,
  });
}

/** Where helpers such as newuidmap and pasta are looked for: PATH, and the administrators' directories users may not have in it. */
export function searchPath(env: Environment): string {
  return `${env.PATH ?? ""}:/usr/sbin:/sbin`;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export type ProgressMode = "auto" | "tty" | "plain" | "rawjson" | "quiet";

/** Where the main context comes from. */
export type ContextSource =
  | { readonly kind: "directory"; readonly path: string } // absolute; known to be a directory
  | { readonly kind: "remote"; readonly url: string } // git or http(s), as written
  /** No files at all: `tsbuild build - < Dockerfile`. */
  | { readonly kind: "empty" }
  /** A tar (maybe compressed) that came through standard input and lies in a temporary file now. */
  | { readonly kind: "archive"; readonly path: string };

/** Where the Dockerfile comes from. */
export type DockerfileSource =
  | { readonly kind: "default" } // Dockerfile in the context
  | { readonly kind: "path"; readonly path: string } // as written: relative to the working directory, or to a remote context
  | { readonly kind: "bytes"; readonly data: Uint8Array }; // standard input

export interface SecretSource {
  readonly id: string;
  readonly from:
    | { readonly kind: "file"; readonly path: string }
    | { readonly kind: "env"; readonly name: string };
}
export interface SshSource {
  readonly id: string;
  /** Sockets or private key files, as written; empty: SSH_AUTH_SOCK. */
  readonly paths: readonly string[];
}
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

/** Everything `tsbuild build` was asked. */
export interface BuildRequest {
  readonly context: ContextSource;
  readonly dockerfile: DockerfileSource;
  readonly target: string | null;
  readonly tags: readonly string[]; // as written; the engine normalizes and checks them
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly labels: ReadonlyMap<string, string>;
  readonly secrets: readonly SecretSource[];
  readonly ssh: readonly SshSource[];
  /** --build-context: name to URL as written, layout with an absolute path, or "local:NAME" (a session directory). */
  readonly buildContexts: ReadonlyMap<string, string>;
  readonly noCache: boolean;
  readonly noCacheFilter: readonly string[];
  readonly platforms: readonly Platform[]; // empty: this machine's
  readonly pull: boolean;
  readonly outputs: readonly Output[]; // --push and --load are folded in
  readonly annotations: readonly Annotation[];
  readonly allow: readonly Entitlement[];
  readonly network: "default" | "host" | "none";
  readonly extraHosts: readonly ExtraHost[];
  readonly shmSizeBytes: number | null;
  readonly ulimits: readonly Ulimit[];
  readonly cgroupParent: string;
  /** What each step may use at most; null: no limits. */
  readonly limits: ResourceLimits | null;
  /** OCI runtime for the steps, a name or an absolute path; null: the built-in sandbox. */
  readonly ociRuntime: string | null;
  readonly reproducible: boolean;
  /** "git": modes of context files are 755 or 644, as git keeps them. */
  readonly contextMode: "git" | null;
  /** From --build-arg SOURCE_DATE_EPOCH, else the environment; as written (the frontend checks it). null: not set. */
  readonly sourceDateEpoch: string | null;
  readonly call: CallRequest;
  /** Caches to import, asked in this order. */
  readonly cacheFrom: readonly CacheFrom[];
  readonly cacheTo: readonly CacheTo[];
  /** The user's side: directories, secrets, agents, credentials. */
  readonly session: Session;
}

/** What came out of a build. */
export interface BuildReport {
  /** Manifest or index; null when no image was made (only files, or a call). */
  readonly imageDigest: Digest | null;
  /** Image config, for a result of one platform. */
  readonly configDigest: Digest | null;
  readonly descriptor: Descriptor | null;
  readonly names: readonly string[];
  /** For --metadata-file: buildx's keys (containerimage.digest, image.name…). */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** The answer of --call, null for a build. */
  readonly answer: CallAnswer | null;
}

export type CallAnswer =
  | { readonly kind: "check"; readonly result: CheckResult }
  | { readonly kind: "outline"; readonly outline: Outline; readonly source: SourceText }
  | { readonly kind: "targets"; readonly targets: readonly Target[]; readonly source: SourceText };

export interface SourceText {
  readonly file: string;
  readonly text: string;
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

export interface EngineOptions {
  readonly signal: AbortSignal;
  readonly emit: Emit;
}
export interface EngineBuildOptions extends EngineOptions {
  /** Called once a Dockerfile has been read, so that errors and warnings can be shown with its lines. */
  readonly onSource: (source: SourceText) => void;
  /** How large the store may become, as written; null or left out: TSBUILD_MAX_STORAGE, else a share of the disk. */
  readonly maxStorage?: string | null;
  /** Called when the steps have ended, well or not: which ran, and why. */
  readonly onExplained?: (build: ExplainedBuild) => void;
}
export interface EngineRunOptions extends EngineOptions {
  /** Bytes for the command's standard input; null: it reads nothing. */
  readonly stdin: AsyncIterable<Uint8Array> | null;
  readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
  /** Credentials for a pull. */
  readonly session: Session;
}
export interface EngineTransferOptions extends EngineOptions {
  readonly session: Session;
}

export type MountsExported = Awaited<ReturnType<typeof exportMountsTo>>;
export type MountsImported = Awaited<ReturnType<typeof importMountsFrom>>;

/** All rooms wired together. Disposed: the keeper, its mounts and the store are closed, in reverse order. */
export interface Engine extends AsyncDisposable {
  readonly store: OpenStore;
  build(request: BuildRequest, options: EngineBuildOptions): Promise<BuildReport>;
  /** Runs a command in an image and returns its exit code (128 + n when signal n ended it). */
  run(request: RunRequest, options: EngineRunOptions): Promise<number>;
  /** Fetches an image into the local image store under its name; platform null: this machine's. */
  pull(reference: string, platform: Platform | null, options: EngineTransferOptions): Promise<Descriptor>;
  /** Sends an image of the local image store to the registry its name says. */
  push(reference: string, options: EngineTransferOptions): Promise<Descriptor>;
  /** Checks the store, and mends it. */
  check(options: { readonly repair: boolean; readonly signal: AbortSignal }): Promise<CheckOutcome>;
  /** Contents of cache mounts out of the store and into it: bin/engine-mounts.ts. */
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
