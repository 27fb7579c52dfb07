import type { Vertex } from "../../solver/graph/definition.ts";
import type { ExecOp } from "../../solver/graph/op.ts";
import type { CallContext, Entitlement, Result } from "../../solver/graph/request.ts";
import type { Lease, Store } from "../../cache/store.ts";
import type { Keeper } from "../keeper/keeper.ts";
export interface ExecDeps {
    readonly store: Store;
    readonly keeper: () => Keeper;
    readonly entitlements: ReadonlySet<Entitlement>;
    /** What the step really gets, where the op says "sandbox". */
    readonly network: ExecOp["network"];
    /** How people know the step. */
    readonly name: string;
    /** Holds new layers. */
    readonly lease: Lease;
    readonly resolvConf: (network: ExecOp["network"]) => string;
    /** Layer directories of an input, unpacked; files of the asker are put into a layer first. */
    readonly directories: (input: Result) => Promise<string[]>;
    /** The layers an input stands for once it is ready. */
    readonly layersOf: (input: Result) => Promise<Extract<Result, {
        kind: "layers";
    }>["layers"]>;
}
/** Host name every step sees, as in BuildKit. */
export declare const STEP_HOSTNAME = "buildkitsandbox";
/** Runs the command and returns one Result per output. Throws EXEC_FAILED, SECRET_MISSING, ENTITLEMENT_DENIED, MOUNT_INVALID… */
export declare function runExecOp(vertex: Vertex, op: ExecOp, inputs: readonly Result[], deps: ExecDeps, context: CallContext): Promise<(Result | null)[]>;
