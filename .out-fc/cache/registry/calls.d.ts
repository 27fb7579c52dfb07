import { BuildError } from "../../solver/graph/error.ts";
import type { RegistryOptions } from "./client.ts";
import { type Repository } from "./reference.ts";
import { type Answer, Fault } from "./transport.ts";
export interface Call {
    readonly method: "GET" | "HEAD" | "PUT" | "POST";
    /** Below /v2/REPOSITORY/, or the whole URL a registry gave (an upload location). */
    readonly path: string | URL;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: Uint8Array | (() => AsyncIterable<Uint8Array>);
    readonly actions: "pull" | "pull,push";
    /** Another repository that has to be readable: the source of a mount. */
    readonly alsoPull?: string;
    /** Statuses the caller deals with; all others are errors. */
    readonly ok: readonly number[];
    /** What the user knows it as. */
    readonly name: string;
    readonly signal: AbortSignal;
    /** false: a fault goes to the caller at once. */
    readonly retry?: boolean;
    readonly totalMs?: number;
    /** Set: the answer is read whole, as a part of the attempt, and is an error when larger. */
    readonly wholeMax?: number;
}
export interface Called extends Answer {
    readonly url: URL;
    /** The whole body; only with `wholeMax`. */
    bytes(): Promise<Uint8Array>;
}
export interface Calls {
    call(repository: Repository, call: Call): Promise<Called>;
    /** A call that only reads: mirrors of the host are asked first. */
    read(repository: Repository, call: Omit<Call, "actions">): Promise<Called>;
    /** Waits before attempt n+1 (n from 0). */
    pause(attempt: number, signal: AbortSignal): Promise<void>;
    unreachable(host: string, fault: Fault, name: string): BuildError;
    close(): void;
}
/** Total limit of a transfer: a quarter of an hour, or more for what is large. */
export declare function transferMs(size: number): number;
/** Opens what `openRegistry` calls with. */
export declare function openCalls(options: RegistryOptions): Calls;
/** The registry did something it may not do. */
export declare function unexpected(name: string, problem: string): BuildError;
