// What one build tells about its vertices: each of the events of a vertex at most once, in an order that makes sense.
/** Announces the vertices, in order, and keeps count from then on. */
export function openReporter(vertices, emit, nowMs) {
    const running = new Set();
    const over = new Set();
    for (const { vertex, note } of vertices) {
        const { digest, inputs, op } = vertex;
        const below = [...new Set(inputs.map((input) => input.vertex))];
        emit({ kind: "vertex", vertex: digest, name: note?.name ?? op.kind, inputs: below, at: note?.at ?? [] });
    }
    function end(vertex) {
        if (over.has(vertex))
            return false;
        over.add(vertex);
        running.delete(vertex);
        return true;
    }
    const reporter = {
        emit(event) {
            if (event.kind === "started")
                reporter.started(event.vertex);
            else
                emit(event);
        },
        started(vertex) {
            if (over.has(vertex) || running.has(vertex))
                return;
            running.add(vertex);
            emit({ kind: "started", vertex, atMs: nowMs() });
        },
        ended(vertex, how) {
            if (end(vertex))
                emit({ kind: how, vertex, atMs: nowMs() });
        },
        failed(vertex, error) {
            reporter.started(vertex); // nothing fails that has not begun
            if (end(vertex))
                emit({ kind: "failed", vertex, atMs: nowMs(), error });
        },
        cancelled() {
            for (const vertex of [...running]) {
                if (end(vertex))
                    emit({ kind: "cancelled", vertex, atMs: nowMs() });
            }
        },
    };
    return reporter;
}
//# sourceMappingURL=reporter.js.map