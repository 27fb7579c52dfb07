import { type Account } from "./unprivileged.ts";
export interface CliOptions {
    /** Who calls; default: this process's account. */
    readonly account?: Account;
    /** The store. */
    readonly root: string;
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: string;
}
export interface Outcome {
    /** Exit code; null when a signal ended it. */
    readonly code: number | null;
    readonly signal: NodeJS.Signals | null;
    readonly stdout: string;
    readonly stderr: string;
}
export interface RunningCommand {
    readonly pid: number;
    /** Resolves with all output so far once `pattern` matches it; throws when the command ends before. */
    says(pattern: RegExp): Promise<string>;
    kill(signal: NodeJS.Signals): void;
    readonly outcome: Promise<Outcome>;
}
/** Starts `tsbuild ARGS`. */
export declare function startTsbuild(args: readonly string[], options: CliOptions): RunningCommand;
/** Runs `tsbuild ARGS` to its end. */
export declare function tsbuild(args: readonly string[], options: CliOptions): Promise<Outcome>;
/** As tsbuild(); throws with the command's words when it fails. */
export declare function tsbuildOk(args: readonly string[], options: CliOptions): Promise<Outcome>;
