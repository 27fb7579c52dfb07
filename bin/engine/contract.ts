// The engine as its users see it.

import type { ImageTools } from "./images/contract.ts";
import type { CheckOutcome } from "../../cache/check.ts";
import type { Measure } from "../../cache/collect.ts";
import type { OpenStore } from "../../cache/store.ts";
import type { Platform } from "../../solver/graph/op.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { BuiltImageFrom, CompareRequest, Comparison, Subject } from "./compare/contract.ts";
import type { CacheLocation } from "./cache-location.ts";
import type { Bridge } from "./bridge-contract.ts";
import type {
  BuildTerms,
  BuildRequest,
  BuildReport,
  RunRequest,
  EngineOptions,
  EngineBuildOptions,
  EngineRunOptions,
  EngineTransferOptions,
  MountsExported,
  MountsImported,
  ImageScan,
  SaveRequest,
} from "./request.ts";

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
