import type { Registry } from "../cache/registry/client.ts";
import type { Store } from "../cache/store.ts";
import type { Vertex } from "../solver/graph/definition.ts";
import { type Digest } from "../solver/graph/digest.ts";
import { type ExecOp, type Platform, type SourceOp } from "../solver/graph/op.ts";
import type { CallContext, Entitlement, LayerId, Result } from "../solver/graph/request.ts";
import type { Keeper } from "./keeper/keeper.ts";
import type { Selector } from "./keeper/messages.ts";
import { type Unpacker } from "./layers.ts";
import { type ImageSource } from "./sources/image.ts";
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
    /** Runs the op; one Result per output. `name` is how people know the step. `readDigest`: what was really read from live files, when it differs from what the key said. */
    run(vertex: Vertex, inputs: readonly Result[], context: CallContext, name: string): Promise<RunOutcome>;
    /** Likely to be needed soon: starts the keeper ahead. */
    warm(): void;
}
export interface RunOutcome {
    readonly outputs: readonly (Result | null)[];
    /** For ops that read live files: digest (as contentDigest gives) of what was read; null: no live files. */
    readonly readDigest: Digest | null;
}
export interface WorkerOptions {
    readonly store: Store;
    readonly keeper: () => Keeper;
    readonly registry: () => Promise<Registry>;
    readonly entitlements: ReadonlySet<Entitlement>;
    /** "pull": names of the local image store do not answer for the registry. */
    readonly resolveMode: "default" | "pull";
    readonly resolvConf: (network: ExecOp["network"]) => string;
    /** Where there is nothing better, steps with the default network get this. */
    readonly defaultNetwork: "sandbox" | "host";
    readonly defaultPlatform: Platform;
}
export interface LocalWorker extends Worker {
    readonly images: ImageSource;
    readonly unpacker: Unpacker;
    /** The layers a result stands for; files of the asker become one. */
    layersOf(result: Result, context: CallContext): Promise<readonly LayerId[]>;
}
/** The worker of this machine. Disposing it does not end the keeper, which belongs to who made it. */
export declare function openWorker(options: WorkerOptions): LocalWorker;
