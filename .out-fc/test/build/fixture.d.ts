import { type CliOptions, type Outcome, type RunningCommand } from "../support/cli.ts";
import { type Account } from "../support/unprivileged.ts";
export interface Workshop extends Disposable {
    readonly dir: string;
    readonly root: string;
    readonly account: Account;
    /** Writes files (a directory for each part of a name as needed) below `name`; returns the absolute path of that. */
    context(name: string, files: Readonly<Record<string, string>>): string;
    at(...names: string[]): string;
    /** `tsbuild ARGS` on this store; `build` gets the base image as a context named "base". Throws when it fails. */
    ok(args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome>;
    run(args: readonly string[], options?: Partial<CliOptions>): Promise<Outcome>;
    start(args: readonly string[], options?: Partial<CliOptions>): RunningCommand;
}
/** A directory of `account` with an empty store, and a busybox base image. */
export declare function openWorkshop(account?: Account): Promise<Workshop>;
/** Three stages: two that do not know each other, and one that takes from both. */
export declare const THREE_STAGES: Readonly<Record<string, string>>;
/** What an image of THREE_STAGES prints. */
export declare const THREE_STAGES_OUTPUT = "hello\n1000\nCOMPILED\nstyle\n1\n";
