import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { Store } from "../../cache/store.ts";
import type { Pin } from "../worker.ts";
/** Ref to commit. Throws SOURCE_FAILED with git's words. */
export declare function pinGit(op: SourceOp, store: Store, context: CallContext): Promise<Pin>;
/** A layer with the tree of the commit (or a folder of it) in its root. */
export declare function fetchGit(op: SourceOp, store: Store, context: CallContext): Promise<LayerId>;
/** Time of the commit behind a git source, epoch seconds; the source must have been fetched. */
export declare function gitTime(op: SourceOp, store: Store, context: CallContext): Promise<number>;
