import { type ChildProcess } from "node:child_process";
/** A fresh directory before each test of the enclosing suite, removed after it. */
export declare function freshDirectory(): () => string;
export interface Child {
    readonly process: ChildProcess;
    /** Next line of its output; rejects when it ends first. */
    line(): Promise<string>;
    /** Exit code, or the signal's name. */
    ended: Promise<number | string>;
}
/** Runs a module body in another Node process. It has `openStore` and the rest of cache/store.ts, `dir`, and `say(text)`. */
export declare function child(dir: string, body: string): Child;
/** A signal that never aborts. */
export declare function never(): AbortSignal;
