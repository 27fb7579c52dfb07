import type { CopyAction, FileAction } from "../../solver/graph/op.ts";
import type { FileOutcome, Tree } from "../../worker/keeper/messages.ts";
/** name → text of a file, null a directory, ["link", target] a symbolic link. */
export type Files = Readonly<Record<string, string | null | readonly ["link", string]>>;
export declare function writeTree(root: string, files: Files): string;
/** All paths below with text, "->target", or "/" for directories. */
export declare function readTree(root: string, below?: string): Record<string, string>;
export interface Bench {
    readonly dir: string;
    readonly context: string;
    readonly base: string;
    readonly upper: string;
    /** A copy action from the context ("/" with all of it to "/out/" unless said otherwise). */
    run(actions: readonly FileAction[], options?: {
        inputs?: readonly (Tree | null)[];
        base?: readonly string[];
    }): Promise<FileOutcome>;
    /** The merged result of the last run, read through a mount of its own. */
    merged(base?: readonly string[]): Record<string, string>;
    dispose(): void;
}
/** A base layer, an upper and a context in a directory of their own. */
export declare function openBench(context: Files, base?: Files, excludes?: readonly string[]): Bench;
/** A copy as the Dockerfile frontend makes it. */
export declare function copy(src: string, dest: string, change?: Partial<CopyAction & {
    from: number | null;
}>): FileAction & {
    kind: "copy";
};
/** Overlay mounts need root, of the machine or of a user namespace with a mount namespace. */
export declare function needsMounts(this: Mocha.Context): void;
