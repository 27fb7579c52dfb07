export interface TreeTarOptions {
    readonly form: "layer" | "tree";
    /** Seconds; null: times as they are. layer: later times become this one (rewrite-timestamp). tree: all do, as
     *  BuildKit's local and tar exporters have it. */
    readonly epochSeconds: number | null;
    readonly blockBytes: number;
    /** Every block is the same buffer, valid until the next is asked for. */
    readonly reuse: boolean;
    /** Told what a tar cannot hold and is left out. */
    readonly note: (message: string) => void;
}
/** The tar of what is below `root`; the root directory itself has no entry. Sorted by bytes, parents first. Throws
 *  CONTEXT_CHANGED when a file shrinks while it is read, SysError. */
export declare function treeTar(root: number, options: TreeTarOptions): Generator<Buffer>;
