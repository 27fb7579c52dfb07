import type { Digest } from "./graph/digest.ts";
import type { CallContext } from "./graph/request.ts";
/** One who waits for the work. */
export interface Member<T> {
    /** Its own name for the step; events of the work are told under it. */
    readonly vertex: Digest;
    readonly context: CallContext;
    /** Called with the value before `release` of the work is. */
    readonly landed: (value: T) => void;
}
/** `release` gives back what held the value until every member had its own hold. */
export interface Shared<T> {
    readonly value: T;
    readonly release: () => PromiseLike<void>;
}
export interface Flights<T> {
    /**
     * Runs `work` for all who ask under `key` while it is in flight. It gets the session of the first; its signal aborts
     * once nobody is left who waits. Rejects with the member's `signal.reason` when that aborts: at once while others
     * wait on, else after the work has stopped.
     */
    share(key: string, member: Member<T>, work: (context: CallContext) => Promise<Shared<T>>): Promise<T>;
}
/** No flights yet. */
export declare function openFlights<T>(): Flights<T>;
