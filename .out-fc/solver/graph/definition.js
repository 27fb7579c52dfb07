// Definition: the DAG that frontends produce and the solver runs.
/** One definition out of several that share vertices; root is that of the last. */
export function mergeDefinitions(definitions) {
    const vertices = new Map();
    const notes = new Map();
    let root = null;
    for (const definition of definitions) {
        for (const [digest, vertex] of definition.vertices)
            vertices.set(digest, vertex);
        for (const [digest, note] of definition.notes) {
            const known = notes.get(digest);
            notes.set(digest, known === undefined
                ? note
                : { ...known, ignoreCache: known.ignoreCache || note.ignoreCache, at: known.at.length > 0 ? known.at : note.at });
        }
        root = definition.root;
    }
    return { vertices, notes, root };
}
//# sourceMappingURL=definition.js.map