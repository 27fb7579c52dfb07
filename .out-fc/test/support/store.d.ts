import type { Account } from "./unprivileged.ts";
export interface TemporaryDir extends Disposable {
    readonly path: string;
    /** Path of something in it. */
    at(...names: string[]): string;
}
/** A fresh directory, removed with all that is in it when disposed. `account`: whose it is; default: ours. */
export declare function temporaryDir(account?: Account | null): TemporaryDir;
/** rm -rf that also gets rid of files of our subordinate ids, which only a user namespace that holds them may delete. */
export declare function removeTree(path: string): void;
/** Processes that run, mounts that hold and mount namespaces that know something below `dir`. Those that are just ending get
 *  a moment; returns a line for each that stays. */
export declare function residentsOf(dir: string): Promise<string[]>;
/** Is a process with `marker` in its command line alive? */
export declare function isRunning(marker: string): boolean;
