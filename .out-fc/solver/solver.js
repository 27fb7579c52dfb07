// The door of the solver: decides what of a definition must run, and has it run.
import { openFlights } from "./flight.js";
import { loadJob } from "./job.js";
import { openResultRecords } from "./records.js";
import { runJob } from "./scheduler.js";
/** A solver over one worker and one store, which it does not dispose. `limits` is asked for when the first step has to
 *  run (a build that hits everything does not load the queues), and must give the same queues each time. */
export function openSolver(means) {
    const flights = openFlights();
    let jobs = 0;
    return {
        async solve(request, roots, context, options = {}) {
            context.signal.throwIfAborted();
            const job = loadJob(request, roots);
            const records = openResultRecords(means.store, means.nowMs);
            jobs += 1;
            try {
                const results = await runJob(job, context, {
                    means,
                    flights,
                    records,
                    name: `job ${jobs}`,
                    onResult: options.onResult ?? null,
                });
                return { results, [Symbol.asyncDispose]: () => records[Symbol.asyncDispose]() };
            }
            catch (error) {
                await records[Symbol.asyncDispose]();
                throw error;
            }
        },
    };
}
//# sourceMappingURL=solver.js.map