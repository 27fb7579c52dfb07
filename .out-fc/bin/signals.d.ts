export interface Signals {
    readonly signal: AbortSignal;
    /** 128 + number of the signal that came, or null. */
    exitCode(): number | null;
}
/** What the abort signal's reason is. */
export declare class Interrupted extends Error {
    readonly name = "Interrupted";
}
/** Listens for SIGINT, SIGTERM and SIGHUP until the process ends. */
export declare function listenForSignals(): Signals;
