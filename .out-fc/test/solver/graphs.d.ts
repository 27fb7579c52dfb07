import type { Store } from "../../cache/store.ts";
import type { Definition, Input, VertexNote } from "../../solver/graph/definition.ts";
import type { ProgressEvent } from "../../solver/graph/event.ts";
import type { Attrs, ExecOp, FileAction, Platform } from "../../solver/graph/op.ts";
import type { CallContext, Session } from "../../solver/graph/request.ts";
import { type OnResult, type Solver } from "../../solver/solver.ts";
import { type Arithmetic, type Numbers } from "../support/arithmetic.ts";
export declare const EXEC: ExecOp;
export declare const COPY: FileAction & {
    kind: "copy";
};
/** A graph as it is written down. */
export interface Graph {
    source(identifier: string, attrs?: Attrs): Input;
    /** Writes at `where` the sum of `amount` and all files of root and mounts. */
    sum(name: string, amount: number, where: string, root: Input | null, mounts?: readonly Input[], also?: Partial<ExecOp>): Input;
    file(path: string, number: number, base: Input | null): Input;
    copy(from: Input, src: string, dest: string, base: Input | null, platform?: Platform): Input;
    merge(...inputs: Input[]): Input;
    diff(lower: Input, upper: Input): Input;
    note(input: Input, note: Partial<VertexNote>): void;
    definition(): Definition;
}
export declare function openDraft(): Graph;
export declare function contextOf(events?: ProgressEvent[], signal?: AbortSignal, session?: Session): CallContext;
export interface Lab {
    readonly store: Store;
    readonly worker: Arithmetic;
    readonly solver: Solver;
    /** Solves, gives the numbers of the first root and lets the results go. */
    solve(graph: Graph, roots: Input | readonly Input[], options?: LabOptions): Promise<Numbers>;
}
export interface LabOptions {
    readonly noCache?: boolean;
    readonly context?: CallContext;
    readonly onResult?: OnResult;
}
/** A solver over a calculating worker; several labs may share a store. */
export declare function openLab(store?: Store, nowMs?: () => number, width?: number): Lab;
/** Names and counts of what ran since the last call. */
export declare function ran(lab: Lab): Record<string, number>;
