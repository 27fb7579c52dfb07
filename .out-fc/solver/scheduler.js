// Does what advance() asks for, until the roots are settled, something fails, or the client cancels.
import { debuglog } from "node:util";
import { advance, keysOf, waitsFor } from "./edge.js";
import { BuildError, locate } from "./graph/error.js";
import { chainsMs, release } from "./job.js";
import { fetchUnnamed, keysAsRead, make } from "./making.js";
import { openResultRecords } from "./records.js";
import { openReporter } from "./reporter.js";
const debug = debuglog("tsbuild:solver");
/**
 * Results of the job's roots, in their order. Throws the first BuildError, located, after everything it started has
 * stopped; rejects with `signal.reason` when the client cancels.
 */
export async function runJob(job, context, options) {
    const { means, flights, records, onResult } = options;
    const { worker } = means;
    const reporter = openReporter(job.nodes.values(), context.emit, means.nowMs);
    const controller = new AbortController();
    const { signal } = controller;
    const inner = { signal, session: context.session, emit: reporter.emit };
    const digests = new Map();
    const inbox = [];
    let chains = null;
    let running = 0;
    let failure = null;
    let isWarm = false;
    let finish = () => { };
    const finished = new Promise((resolve) => {
        finish = resolve;
    });
    const isSettled = () => job.roots.every((root) => job.nodes.get(root.vertex)?.edge.phase === "settled");
    function warm() {
        if (!isWarm)
            worker.warm();
        isWarm = true;
    }
    /** First failure: the rest is stopped. */
    function fail(node, thrown) {
        if (signal.aborted)
            return;
        const error = node === null ? thrown : located(node, thrown);
        failure = { error };
        if (node !== null && error instanceof BuildError)
            reporter.failed(node.vertex.digest, error);
        controller.abort(error);
    }
    /** Work that brings its answer as a message. */
    function start(node, work) {
        running += 1;
        work()
            .then((message) => inbox.push({ node, message }), (error) => fail(node, error))
            .then(() => {
            running -= 1;
            pump();
        })
            .catch(() => { }); // pump() does not throw
    }
    /** Hands out messages until there are none, then sees whether that was all. */
    function pump() {
        try {
            for (let at = 0; !signal.aborted; at += 1) {
                const next = inbox[at];
                if (next === undefined)
                    break;
                deliver(next.node, next.message);
            }
        }
        catch (error) {
            fail(null, error);
        }
        inbox.length = 0;
        if (running > 0)
            return;
        if (!signal.aborted && !isSettled())
            fail(null, new Error(`solver is stuck: ${stuck(job)}`));
        finish();
    }
    function deliver(node, message) {
        const before = node.edge;
        const { edge, requests } = advance(node.facts, before, message);
        if (edge.phase !== "settled" && waitsFor(edge) === null) {
            throw new Error(`an edge that was ${before.phase} waits for nothing after "${message.kind}"`);
        }
        node.edge = edge;
        if (debug.enabled && edge.phase !== before.phase)
            debug("%s: %s", node.note?.name ?? node.vertex.digest, edge.phase);
        for (const request of requests)
            perform(node, request);
    }
    function perform(node, request) {
        const { digest } = node.vertex;
        switch (request.kind) {
            case "pin":
                return pin(node);
            case "hash":
                reporter.started(digest);
                return start(node, async () => ({
                    kind: "digest",
                    index: request.index,
                    digest: await contentDigest(node, request.index, request.result, request.selectors),
                }));
            case "look-up":
                return deliver(node, lookUp(node, request)); // at once: an edge is never seen in between
            case "want-input": {
                const input = inputOf(node, request.index);
                input.waiting.push({ node, index: request.index });
                if (input.edge.phase === "settled")
                    return hand(input, input.edge);
                inbox.push({ node: input, message: { kind: "want" } });
                return undefined;
            }
            case "announce":
                for (const user of node.users) {
                    const { key, result } = request;
                    inbox.push({ node: user.node, message: { kind: "input-key", index: user.index, key, result } });
                }
                return undefined;
            case "run":
                return run(node, request);
            case "settle":
                return settled(node, request);
        }
    }
    function pin(node) {
        const { op, platform, digest } = node.vertex;
        if (op.kind !== "source")
            throw new Error(`${op.kind} cannot be pinned`);
        reporter.started(digest);
        start(node, async () => ({ kind: "pinned", pin: await worker.pin(op, platform, digest, inner) }));
    }
    /** Many steps copy from one place; equal questions are asked once. */
    function contentDigest(node, index, result, selectors) {
        const input = node.facts.inputs[index];
        const question = `${input.vertex} ${input.output} ${JSON.stringify(selectors)}`;
        let answer = digests.get(question);
        if (answer === undefined) {
            answer = worker.contentDigest(result, selectors, inner);
            digests.set(question, answer);
        }
        return answer;
    }
    function lookUp(node, request) {
        const found = records.find(request.key, node.outputs);
        if (found === null) {
            warm();
            return { kind: "missed" };
        }
        debug("%s: found by %s, %s", node.note?.name, request.by, request.key);
        records.put(request.aliases, found.record, null);
        return { kind: "found", outputs: found.outputs };
    }
    function run(node, request) {
        const { parts, results } = request;
        warm();
        if (parts === null) {
            start(node, async () => {
                const { outputs } = await fetchUnnamed(node, means, inner);
                return { kind: "ran", outputs, key: null };
            });
            return;
        }
        chains ??= chainsMs(job, (op) => records.durationMs(op));
        const task = { node, parts, results, priority: chains.get(node.vertex.digest) ?? 0 };
        start(node, async () => {
            const made = await share(task);
            const { key, keys } = keysAsRead(task, made);
            // Whoever made it may have come by other keys than this one.
            const others = keys.filter((other) => !made.recordedAs.includes(other));
            if (made.record !== null)
                records.put(others, made.record, null);
            if (made.how === "found")
                return { kind: "found", outputs: made.outputs };
            return { kind: "ran", outputs: made.outputs, key };
        });
    }
    function share(task) {
        const { node, parts, results } = task;
        const key = keysOf(node.facts.op, parts).at(-1);
        const member = {
            vertex: node.vertex.digest,
            context: inner,
            landed: (made) => records.hold(made.outputs),
        };
        return flights.share(node.facts.trust === "none" ? `${options.name} ${key}` : key, member, async (shared) => {
            const own = openResultRecords(means.store, means.nowMs); // outlives this job if others wait on
            try {
                own.hold(results);
                const value = await make(task, means, own, shared);
                return { value, release: () => own[Symbol.asyncDispose]() };
            }
            catch (error) {
                await own[Symbol.asyncDispose]();
                throw error;
            }
        });
    }
    function settled(node, request) {
        const { outputs, how } = request;
        const { digest } = node.vertex;
        records.hold(outputs);
        node.isNew =
            how === "ran" || (how === "made" && node.facts.inputs.some((_, index) => inputOf(node, index).isNew));
        if (how === "made" && node.isNew)
            reporter.started(digest);
        reporter.ended(digest, how === "pinned" || node.isNew ? "done" : "cached");
        for (const index of node.outputs) {
            const result = outputs[index] ?? null;
            if (result === null)
                throw new Error(`${node.vertex.op.kind}: there is no output ${index}`);
            onResult?.({ vertex: digest, output: index }, result, !node.isNew);
        }
        if (node.edge.phase === "settled")
            hand(node, node.edge);
        for (const input of node.facts.inputs) {
            for (const spared of release(job, job.nodes.get(input.vertex), (one) => one.edge.phase === "settled")) {
                reporter.ended(spared.vertex.digest, "cached");
            }
        }
    }
    /** The result to all who wait for it. */
    function hand(node, edge) {
        for (const user of node.waiting.splice(0)) {
            const result = edge.outputs[user.node.facts.inputs[user.index]?.output ?? -1] ?? null;
            if (result === null)
                throw new Error(`${node.vertex.op.kind}: a user wants an output it does not have`);
            inbox.push({ node: user.node, message: { kind: "input-result", index: user.index, result } });
        }
    }
    function inputOf(node, index) {
        return job.nodes.get(node.facts.inputs[index]?.vertex);
    }
    const cancel = () => controller.abort(context.signal.reason);
    context.signal.throwIfAborted();
    context.signal.addEventListener("abort", cancel, { once: true });
    try {
        if ([...job.nodes.values()].some((node) => node.facts.trust === "none"))
            warm();
        for (const { node, requests } of job.first)
            for (const request of requests)
                perform(node, request);
        for (const root of job.roots) {
            inbox.push({ node: job.nodes.get(root.vertex), message: { kind: "want" } });
        }
        pump();
        await finished;
    }
    finally {
        context.signal.removeEventListener("abort", cancel);
    }
    if (signal.aborted) {
        reporter.cancelled();
        throw failure === null ? context.signal.reason : failure.error;
    }
    records.touch(sparedKeys(job));
    return job.roots.map((root) => {
        const edge = job.nodes.get(root.vertex)?.edge;
        return (edge?.phase === "settled" ? edge.outputs[root.output] : null);
    });
}
/** Keys of what a hit above made unnecessary. */
function* sparedKeys(job) {
    for (const { edge } of job.nodes.values())
        if (edge.phase === "keyed")
            yield edge.key;
}
/** What a step failed with, as the user should see it: with its place in the Dockerfile. */
function located(node, thrown) {
    const error = thrown instanceof BuildError
        ? thrown
        : new BuildError("SYSCALL", thrown instanceof Error ? thrown.message : String(thrown), {
            cause: thrown,
        });
    return locate(error, node.note?.at[0] ?? null, node.vertex.digest);
}
function stuck(job) {
    return [...job.nodes.values()]
        .filter(({ edge }) => edge.phase !== "settled" && edge.phase !== "keyed")
        .map(({ note, vertex, edge }) => `${note?.name ?? vertex.digest} is ${edge.phase}, waits for ${waitsFor(edge)}`)
        .join("; ");
}
//# sourceMappingURL=scheduler.js.map