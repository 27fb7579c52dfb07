// A build as its frontends see it, as types: bridge.ts makes it.

import type { Definition, Vertex } from "../../solver/graph/definition.ts";
import type { StepLeft } from "../../solver/graph/error.ts";
import type { ExecOp, Platform, SourceOp } from "../../solver/graph/op.ts";
import type { ImageConfig } from "../../solver/graph/request.ts";
import type { ScanTarget } from "../../frontend/contract.ts";
import type { TraceRequest } from "../../solver/solver.ts";
import type { Container } from "../../worker/contract.ts";
import type { LookAnswer, TreeQuestion } from "../../worker/keeper/messages.ts";
import type { Annotation } from "../../exporters/annotations.ts";
import type { FrontendCall } from "../../exporters/attestation/provenance.ts";
import type { Output } from "../../exporters/output-grammar.ts";
import type { CacheFrom } from "./cache-location.ts";
import type { SourcePolicy } from "./source-policy.ts";
import type { Written } from "./statements.ts";
import type { BuildRequest, BuildReport, CallAnswer } from "./request.ts";
import type { ResolveOptions, SourceMetadata } from "./source-metadata.ts";

/** A lazy result of a build's bridge. */
export interface Ref {
  readonly definition: Definition;
}

/** One image to be exported. */
export interface RefImage {
  readonly platform: Platform;
  readonly ref: Ref;
  readonly config: ImageConfig;
  /** Number of history entries at the start that belong to the base image. */
  readonly baseHistory: number;
  /** What belongs into bills of materials beside it; left out: nothing. */
  readonly scans?: readonly ScanTarget[];
  /** What the frontend itself attests; left out: nothing. */
  readonly attestations?: readonly RefAttestation[];
}

/** What a frontend says of an image, in files of a result. BuildKit: result.Attestation. */
export interface RefAttestation {
  readonly ref: Ref;
  readonly written: Written;
  /** As of WrittenBy. */
  readonly core: string | null;
  readonly inlineOnly: boolean;
}

/** What a frontend says of its result beside the images. */
export interface ResultWords {
  /** For all outputs that are images; those of an output come on top. */
  readonly annotations: readonly Annotation[];
  /** Names, joined with commas, for outputs that take the frontend's; null: it has none. */
  readonly imageName: string | null;
  /** Told to the client when the result has been exported. */
  readonly response: Readonly<Record<string, string>>;
}
export const NO_WORDS: ResultWords = { annotations: [], imageName: null, response: {} };

/** What a frontend comes to: an image per platform. */
export interface BridgeResult {
  readonly images: readonly RefImage[];
  readonly multiPlatform: boolean; // true: the result is an index
  readonly words: ResultWords;
  /** SOURCE_DATE_EPOCH, for outputs that have none of their own. */
  readonly sourceDateEpoch: number | null;
  /** For --explain; null: the build is not recorded. */
  readonly trace: TraceRequest | null;
  /** Called when it has been exported. */
  readonly onExported: (() => void) | null;
  /** What the frontend was called with that made it, for provenance; null: no frontend of this build did. */
  readonly call: FrontendCall | null;
}

/** A call of the Dockerfile frontend: a result, or an answer about the Dockerfile. */
export type FrontendOutcome =
  | { readonly kind: "result"; readonly result: BridgeResult }
  | { readonly kind: "answer"; readonly answer: CallAnswer };

/** One build as its frontends see it: graphs in, lazy results out, any number of them, and one of them exported. BuildKit's LLBBridge. Everything
 *  throws BuildError for what the user is to be told. */
export interface Bridge {
  /** Reads and converts a Dockerfile. Steps run only as far as that needs their files. */
  dockerfile(request: BuildRequest): Promise<FrontendOutcome>;
  /** A graph from elsewhere. */
  define(definition: Definition, options: DefineOptions): Promise<Ref>;
  /** Runs all steps of a result. */
  evaluate(ref: Ref): Promise<void>;
  /** Looks at a path in a result, whose steps run first. Throws CONTEXT_PATH_MISSING. */
  look(ref: Ref, path: string, question: TreeQuestion): Promise<LookAnswer>;
  /** Mounts results, for processes on them. Ends with the build, if it is not disposed before. */
  openContainer(request: ContainerRequest): Promise<Container>;
  /** What the step left that failed with this error of this bridge; null: nothing is known of it. */
  failureOf(error: unknown): FailedStep | null;
  /** What a source stands for now, as far as the policies of the build let it pass. Throws SOURCE_DENIED. */
  resolveSource(source: SourceOp, options: ResolveSourceOptions): Promise<ResolvedSource>;
  /** Makes the outputs and caches of the build. `outputs`: beside those of its terms. */
  export(result: BridgeResult, more?: { readonly outputs: readonly Output[] }): Promise<BuildReport>;
}

/** A container. `op`: its mounts, network, hosts and host name; what runs in it comes later. */
export interface ContainerRequest {
  readonly op: ExecOp;
  /** What the mounts' inputs stand for. */
  readonly inputs: readonly Ref[];
  /** PATH of processes that have none; null: that of Linux. */
  readonly path: string | null;
}

/** A step that failed, and its results by mount or input; null where there are none. As StepLeft. */
export interface FailedStep {
  readonly vertex: Vertex | null;
  readonly inputs: readonly (Ref | null)[];
  readonly mounts: readonly (Ref | null)[];
  readonly subject: StepLeft["subject"];
}

export interface DefineOptions {
  readonly cacheFrom: readonly CacheFrom[];
  /** For this graph beside those of the build. */
  readonly sourcePolicies?: readonly SourcePolicy[];
}
export interface ResolveSourceOptions extends ResolveOptions {
  readonly sourcePolicies?: readonly SourcePolicy[];
}
/** `source`: the one that is to be used, where a policy has converted it. */
export interface ResolvedSource {
  readonly source: SourceOp;
  readonly found: SourceMetadata;
}
