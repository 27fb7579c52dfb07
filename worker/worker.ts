// The door of the worker: makes one op happen. Contracts first; openWorker() below.

import type { Digest } from "../solver/graph/digest.ts";
import type { Vertex } from "../solver/graph/definition.ts";
import type { Platform, SourceOp } from "../solver/graph/op.ts";
import type { CallContext, Result } from "../solver/graph/request.ts";
import type { Selector } from "./keeper/messages.ts";

/** What a source stands for right now. */
export interface Pin {
  /** Names the content: manifest digest, commit, digest of downloaded bytes. null: only its files can tell (a local directory). */
  readonly digest: Digest | null;
  /** The result when it can be had without work (an image's layers before they are fetched, a live directory). */
  readonly result: Result | null;
}

export interface Worker extends AsyncDisposable {
  pin(op: SourceOp, platform: Platform | null, vertex: Digest, context: CallContext): Promise<Pin>;
  /** Digest of what the selectors pick out of a result; the paths an op really reads. */
  contentDigest(result: Result, selectors: readonly Selector[], context: CallContext): Promise<Digest>;
  /** Runs the op; one Result per output. `readDigest`: what was really read from live files, when it differs from what the key said. */
  run(vertex: Vertex, inputs: readonly Result[], context: CallContext): Promise<RunOutcome>;
  /** Likely to be needed soon: starts the keeper ahead. */
  warm(): void;
}
export interface RunOutcome {
  readonly outputs: readonly (Result | null)[];
  /** For ops that read live files: digest (as contentDigest gives) of what was read; null: no live files. */
  readonly readDigest: Digest | null;
}
