import { type Digest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { Store } from "../../cache/store.ts";
import type { Pin } from "../worker.ts";
/** Largest file taken from a URL. */
export declare const DOWNLOAD_MAX_BYTES: number;
/** Downloads (or revalidates) the file; the pin names content, name and mode. */
export declare function pinHttp(op: SourceOp, store: Store, context: CallContext): Promise<Pin>;
/** The file as a blob of the content store. */
export declare function downloadHttp(op: SourceOp, store: Store, context: CallContext): Promise<Digest>;
/** A layer with the file in its root. */
export declare function fetchHttp(op: SourceOp, store: Store, context: CallContext): Promise<LayerId>;
