// The contract of the worker, as the solver sees it. Types only.

import type { Digest } from "../solver/graph/digest.ts";
import type { CallContext, LayerId, Result } from "../solver/graph/request.ts";
import type { StepResources, Vertex } from "../solver/graph/definition.ts";
import type { ExecOp, Platform, SourceOp } from "../solver/graph/op.ts";
import type { ProcessIo } from "./keeper/contract.ts";
import type { ExecOutcome, LookAnswer, ProcessJob, Selector, TreeQuestion } from "./keeper/messages.ts";
import type { LiveReading } from "./sources/local.ts";

/** What a source currently refers to. */
export interface Pin {
  /** Identifies the content: manifest digest, commit, digest of downloaded bytes. null: only its files do (a local directory). */
  readonly digest: Digest | null;
  /** The result if it is available without work (an image's layers before they are fetched, a live directory). */
  readonly result: Result | null;
  /** What provenance calls it: digest of a manifest (or index), of a file or blob, or a git commit. null: it has no name but its files. */
  readonly material: string | null;
}

/** Refuses an image that a build may not stand on, by throwing. `digests`: of what its reference stands for and of the manifest of its platform;
 *  `layout`: path of the layout on this machine it is from, null for all others. `isTagged`: does the tag of its reference stand for it? In a graph
 *  a tag may have any digest beside it. */
export type AdmitImage = (
  identifier: string,
  image: {
    readonly digests: readonly Digest[];
    readonly layout: string | null;
    readonly isTagged: () => Promise<boolean>;
  },
  options: { readonly signal: AbortSignal },
) => Promise<void>;

export interface Worker extends AsyncDisposable {
  /** What a source stands for. paths: all that is read of it (sourcePaths()), where that is known; null: everything. */
  pin(
    op: SourceOp,
    platform: Platform | null,
    vertex: Digest,
    context: CallContext,
    paths?: readonly string[] | null,
  ): Promise<Pin>;
  /** Digest of what the selectors match in a result: the paths an op actually reads. */
  contentDigest(
    result: Result,
    selectors: readonly Selector[],
    context: CallContext,
    told?: LiveReading,
  ): Promise<Digest>;
  /** A regular file in a result, links followed within it; null: there is none. Throws LIMIT_EXCEEDED for more than maxBytes. */
  readFile(
    result: Result,
    path: string,
    options: { readonly maxBytes: number; readonly vertex: Digest },
    context: CallContext,
  ): Promise<Uint8Array | null>;
  /** The layers of a result; live files of the client become one. */
  layersOf(result: Result, context: CallContext): Promise<readonly LayerId[]>;
  /** Runs the op; one Result per output. `readDigest`: digest of what was actually read from
   *  live files, if it differs from the key. `earlier`: for each output, earlier layers of this step (leased by the caller): if
   *  the new layer equals one except for times, the result has the earlier one. */
  run(
    vertex: Vertex,
    inputs: readonly Result[],
    context: CallContext,
    step: StepInfo,
    earlier: EarlierLayers,
  ): Promise<RunOutcome>;
  /** Starts the keeper early because it is likely to be needed. `connected`: also a network for its steps. Resolves when it begins. */
  warm(connected: boolean): Promise<void>;
}

/** What is known of a step beside its op. */
export interface StepInfo {
  /** Its display name. */
  readonly name: string;
  /** Limits of this step alone; null: those of the build. */
  readonly resources: StepResources | null;
}

/** By output, newest first. */
export type EarlierLayers = readonly (readonly LayerId[])[];

export interface RunOutcome {
  readonly outputs: readonly (Result | null)[];
  /** For ops that read live files: digest (as from contentDigest) of what was read; null: no live files. */
  readonly readDigest: Digest | null;
}

/** What runs in a container. An empty user is that of the first process. */
export interface ContainerProcess extends ProcessJob {
  readonly secretEnv: ExecOp["secretEnv"];
}

/** Results as mounts, with processes on them. Disposing kills those and discards what they wrote. */
export interface Container extends AsyncDisposable {
  /** Runs a process; as KeptContainer.exec, and throws ENTITLEMENT_DENIED, SECRET_MISSING. */
  exec(process: ContainerProcess, io: ProcessIo): Promise<ExecOutcome>;
  /** Looks into a mount, by its place in the op. Throws as KeptContainer.look. */
  look(
    mount: number,
    path: string,
    question: TreeQuestion,
    options: { readonly signal: AbortSignal },
  ): Promise<LookAnswer>;
}
