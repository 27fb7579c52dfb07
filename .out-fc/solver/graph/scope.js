// Scope ties tasks and resources to a block: nothing it started is left running when the block ends.
/** Owns tasks and disposables. `signal` aborts with the parent, on the first failed task, and on dispose. */
export class Scope {
    #controller = new AbortController();
    #tasks = new Set();
    #resources = [];
    #parent;
    #onAbort;
    #failure = null;
    constructor(parent) {
        this.#parent = parent;
        this.#onAbort = () => this.#controller.abort(parent?.reason);
        if (parent?.aborted)
            this.#onAbort();
        else
            parent?.addEventListener("abort", this.#onAbort, { once: true });
    }
    get signal() {
        return this.#controller.signal;
    }
    /** Takes a resource; released last-in first-out when the scope ends. Returns it. */
    use(resource) {
        this.#resources.push(resource);
        return resource;
    }
    /** Starts a task the scope waits for. Its failure aborts the others and is thrown when the scope ends. */
    start(task) {
        const running = (async () => {
            try {
                return await task(this.signal);
            }
            catch (error) {
                if (this.#failure === null && !this.signal.aborted)
                    this.#failure = { error };
                this.#controller.abort(error);
                throw error;
            }
        })();
        this.#tasks.add(running);
        const forget = () => this.#tasks.delete(running);
        running.then(forget, forget);
        return running;
    }
    /** Runs tasks side by side; the first failure aborts the rest, waits for them, then throws. */
    async all(tasks) {
        const results = await Promise.allSettled(tasks.map((task) => this.start(task)));
        if (this.#failure !== null)
            throw this.#failure.error;
        for (const result of results)
            if (result.status === "rejected")
                throw result.reason;
        return results.map((result) => result.value);
    }
    /** Waits for all tasks, then releases resources in reverse order. A failed task not awaited elsewhere throws here. */
    async [Symbol.asyncDispose]() {
        this.#parent?.removeEventListener("abort", this.#onAbort);
        if (this.#tasks.size > 0) {
            this.#controller.abort(this.#failure?.error ?? new Error("scope ended"));
            await Promise.allSettled(this.#tasks);
        }
        const failures = [];
        for (let resource = this.#resources.pop(); resource !== undefined; resource = this.#resources.pop()) {
            try {
                await resource[Symbol.asyncDispose]();
            }
            catch (error) {
                failures.push(error);
            }
        }
        if (failures.length === 1)
            throw failures[0];
        if (failures.length > 1)
            throw new AggregateError(failures, "clean-up failed");
    }
}
//# sourceMappingURL=scope.js.map