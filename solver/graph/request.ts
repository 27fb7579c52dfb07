// What can be asked of a builder, and what comes out of it.

import type { Definition } from "./definition.ts";
import type { Digest } from "./digest.ts";
import type { Emit } from "./event.ts";
import type { Attrs, Platform } from "./op.ts";
import type { Session } from "./session.ts";

/** OCI descriptor; size in bytes. image-spec descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Attrs;
  /** Of an artifact: what it is. */
  readonly artifactType?: string;
}

/** Everything one running build needs from outside the rooms. */
export interface CallContext {
  readonly signal: AbortSignal;
  readonly session: Session;
  readonly emit: Emit;
}

/** Grants for what a Dockerfile may not have by itself; buildx's --allow. */
export type Entitlement = "network.host" | "security.insecure" | "device";

/** A built image of one platform before it leaves the house: its layers, oldest first, and its config. */
export interface BuiltImage {
  readonly platform: Platform;
  readonly layers: readonly LayerId[];
  /** OCI image config without rootfs.diff_ids (the exporter adds them) but with history and everything else. */
  readonly config: ImageConfig;
  /** So many entries at the start of its history came with a base image: no epoch changes their times. Left out: none. */
  readonly baseHistory?: number;
  /** Seconds: an image of the store whose layers were made with times of at most this, whatever the output asks for. Left out: none. */
  readonly clampedTo?: number;
}

declare const layerBrand: unique symbol;
/** Name of one layer in the store: "d-<hex>" for a base layer by its diffId, "r-<random>" for what a step made. */
export type LayerId = string & { readonly [layerBrand]: "LayerId" };

/** Does its name say what it holds, as that of an image's layer does? */
export function isBaseLayer(id: LayerId): boolean {
  return id.startsWith("d-");
}

/** application/vnd.oci.image.config.v1+json, with Docker's additions. image-spec config.md */
export interface ImageConfig {
  created?: string;
  author?: string;
  architecture: string;
  os: string;
  variant?: string;
  "os.version"?: string;
  config: ContainerConfig;
  rootfs?: { type: "layers"; diff_ids: string[] };
  history: HistoryEntry[];
}
export interface ContainerConfig {
  User?: string;
  ExposedPorts?: Record<string, Record<string, never>>;
  Env?: string[];
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, Record<string, never>>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  ArgsEscaped?: boolean;
  OnBuild?: string[];
  Shell?: string[];
  Healthcheck?: Healthcheck;
}
/** Durations in nanoseconds, as Docker stores them. */
export interface Healthcheck {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}
export interface HistoryEntry {
  created?: string;
  created_by?: string;
  author?: string;
  comment?: string;
  empty_layer?: boolean;
}

/** A result of the solver: a stack of layers (empty: scratch), or files of the client that are read where they are. */
export type Result =
  | { readonly kind: "layers"; readonly layers: readonly LayerId[] }
  | {
      readonly kind: "files";
      readonly name: string; // of the session's directory
      readonly root: string; // where it is on this machine, while the build runs; absolute
      readonly excludes: readonly string[]; // .dockerignore patterns in moby's patternmatcher syntax
      readonly includes: readonly string[]; // empty: all
      readonly gitModes?: boolean; // modes are 755 and 644 only
    };

export const SCRATCH: Result = { kind: "layers", layers: [] };

export interface SolveRequest {
  readonly definition: Definition;
  readonly noCache: boolean;
}
