import type { Digest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { Result, Session } from "../../solver/graph/request.ts";
import type { Store } from "../../cache/store.ts";
import type { Selector } from "../keeper/messages.ts";
export interface LocalSource {
    /** The live result of a `local://name` source. Throws CONTEXT_MISSING. */
    result(op: SourceOp, session: Session): Extract<Result, {
        kind: "files";
    }>;
    /** Digest of what the selectors pick; remembers what it hashed. */
    digest(files: Extract<Result, {
        kind: "files";
    }>, selectors: readonly Selector[], session: Session, options: {
        readonly signal: AbortSignal;
    }): Promise<Digest>;
    /** Writes what was learnt about files. To be called once no build runs on them any more. */
    flush(): void;
}
/** Opens the local source over a store's stat cache. */
export declare function openLocalSource(store: Store): LocalSource;
