import type { ExecJob, ExecOutcome } from "../keeper/messages.ts";
import { type NetworkPool } from "./network.ts";
export interface RunningExec {
    readonly outcome: Promise<ExecOutcome>;
    kill(signal: number): void;
    stdin(data: Uint8Array | null): void;
    resize(rows: number, columns: number): void;
}
/** Takes output of a step; reading goes on when the promise resolves, so that memory does not grow with it (E8). */
export type OutputSink = (fd: 1 | 2, data: Uint8Array) => Promise<void> | void;
export interface Sandbox {
    /** Starts a step. `outcome` settles when it, its output and its clean-up are through. Throws nothing itself. */
    exec(job: ExecJob, onOutput: OutputSink): RunningExec;
}
export interface SandboxOptions {
    readonly singleId: boolean;
    /** Networks for steps that ask for "sandbox"; null: they get the host's. */
    readonly network: NetworkPool | null;
    /** Path of the launcher, see launcherInMemory. */
    readonly launcher: () => string;
}
/** The sandbox of this keeper process. */
export declare function openSandbox(options: SandboxOptions): Sandbox;
/** The launcher for `openSandbox`, made when first asked for. */
export declare function lazyLauncher(): () => string;
