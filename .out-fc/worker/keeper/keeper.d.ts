import type { ApplyJob, ApplyOutcome, ExecJob, ExecOutcome, ExportJob, FileJob, FileOutcome, MaterializeJob, MeasureJob, PackJob, PackOutcome, ReadJob, RecompressJob, RemoveJob, SelectJob } from "./messages.ts";
import { type NetworkHelper } from "./network-helper.ts";
import { type IdMaps } from "./userns.ts";
/** Handle on a running command. `stdin(null)` ends its input. */
export interface ExecControl {
    kill(signal: number): void;
    stdin(data: Uint8Array | null): void;
    resize(rows: number, columns: number): void;
}
export interface ExecIo {
    readonly onOutput: (fd: 1 | 2, data: Uint8Array) => void;
    readonly onStart?: (control: ExecControl) => void;
    readonly signal: AbortSignal;
}
export interface Keeper extends AsyncDisposable {
    /** Resolves when the keeper takes jobs; throws SANDBOX_UNAVAILABLE. */
    ready(): Promise<void>;
    run(job: FileJob | MaterializeJob): Promise<FileOutcome>;
    run(job: ApplyJob): Promise<ApplyOutcome>;
    run(job: PackJob | RecompressJob): Promise<PackOutcome>;
    run(job: SelectJob): Promise<string>;
    run(job: RemoveJob | ExportJob): Promise<null>;
    run(job: ReadJob): Promise<Uint8Array | null>;
    run(job: MeasureJob): Promise<{
        sizeBytes: number;
        entries: number;
    }>;
    /** Runs a command. Aborting sends TERM, then KILL after KILL_GRACE_MS, and rejects with the signal's reason once it is gone. */
    exec(job: ExecJob, io: ExecIo): Promise<ExecOutcome>;
    /** A step with the default network is likely to come: starts its network ahead, when the keeper has a helper for it. */
    prepareNetwork(): void;
}
/** Between TERM and KILL for a cancelled step. */
export declare const KILL_GRACE_MS = 1500;
/** What the keeper process is told on its command line, as JSON. */
export interface KeeperSettings {
    readonly singleId: boolean;
    readonly storeDir: string;
    readonly network: NetworkHelper;
}
/** Starts the keeper at once; `ready()` waits for it. `storeDir` holds the launcher. `onExit` is told when it ends unasked. */
export declare function startKeeper(options: {
    readonly storeDir: string;
    readonly maps: IdMaps;
    readonly path: string;
    readonly env: Readonly<Record<string, string>>;
    /** What connects steps whose network is "sandbox"; left out: what findNetworkHelper finds in `path`. */
    readonly network?: NetworkHelper;
}): Keeper;
