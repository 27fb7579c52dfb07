/** Owns tasks and disposables. `signal` aborts with the parent, on the first failed task, and on dispose. */
export declare class Scope implements AsyncDisposable {
    #private;
    constructor(parent: AbortSignal | null);
    get signal(): AbortSignal;
    /** Takes a resource; released last-in first-out when the scope ends. Returns it. */
    use<T extends AsyncDisposable>(resource: T): T;
    /** Starts a task the scope waits for. Its failure aborts the others and is thrown when the scope ends. */
    start<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T>;
    /** Runs tasks side by side; the first failure aborts the rest, waits for them, then throws. */
    all<T extends readonly ((signal: AbortSignal) => Promise<unknown>)[]>(tasks: T): Promise<{
        -readonly [K in keyof T]: Awaited<ReturnType<T[K]>>;
    }>;
    /** Waits for all tasks, then releases resources in reverse order. A failed task not awaited elsewhere throws here. */
    [Symbol.asyncDispose](): Promise<void>;
}
