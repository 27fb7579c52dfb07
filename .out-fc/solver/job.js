// One client's build: the part of a definition that its roots need, with all that is known of each vertex.
import { ingredientsOf, opName, opText } from "./cache-key.js";
import { openEdge } from "./edge.js";
import { readsOf } from "./selectors.js";
import { stackLayers } from "./stack.js";
/** The vertices that the roots need, in the order of the definition. Throws for a definition with holes (a bug: who
 *  reads definitions from outside checks them). */
export function loadJob(request, roots) {
    const { definition } = request;
    const needed = reachable(definition.vertices, roots);
    const nodes = new Map();
    const first = [];
    for (const vertex of definition.vertices.values()) {
        if (!needed.has(vertex.digest))
            continue;
        const note = definition.notes.get(vertex.digest) ?? null;
        const below = vertex.inputs.map((input) => {
            const node = nodes.get(input.vertex);
            if (node === undefined)
                throw new Error(`definition: ${vertex.digest} stands before its input ${input.vertex}`);
            want(node, input.output);
            return node;
        });
        const isForced = request.noCache || (note?.ignoreCache ?? false);
        const isAbove = below.some((node) => node.facts.trust !== "all");
        const facts = factsOf(vertex, isForced ? "none" : isAbove ? "results" : "all");
        const { edge, requests } = openEdge(facts);
        const node = {
            vertex,
            note,
            facts,
            users: [],
            outputs: [],
            edge,
            waiting: [],
            interest: 0,
            isNew: false,
        };
        below.forEach((input, index) => {
            input.users.push({ node, index });
            input.interest += 1;
        });
        nodes.set(vertex.digest, node);
        first.push({ node, requests });
    }
    for (const root of roots) {
        const node = nodes.get(root.vertex);
        want(node, root.output);
        node.interest += 1;
    }
    return { nodes, roots, first };
}
function want(node, output) {
    if (!node.outputs.includes(output))
        node.outputs.push(output);
}
function factsOf(vertex, trust) {
    const { op, inputs } = vertex;
    return {
        inputs,
        sort: op.kind === "source" ? "source" : op.kind === "merge" || op.kind === "diff" ? "layers" : "step",
        op: opText(ingredientsOf(op, vertex.platform)),
        reads: readsOf(op, inputs.length),
        trust,
        stack: (results) => (op.kind === "merge" || op.kind === "diff" ? stackLayers(op, results) : null),
    };
}
function reachable(vertices, roots) {
    const seen = new Set();
    const open = roots.map((root) => root.vertex);
    for (let digest = open.pop(); digest !== undefined; digest = open.pop()) {
        if (seen.has(digest))
            continue;
        seen.add(digest);
        const vertex = vertices.get(digest);
        if (vertex === undefined)
            throw new Error(`definition: no vertex ${digest}`);
        for (const input of vertex.inputs)
            open.push(input.vertex);
    }
    return seen;
}
/** Guesses for ops never seen, in milliseconds; only their order of magnitude matters. */
const USUAL_MS = {
    source: 500,
    exec: 1_000,
    file: 50,
    merge: 1,
    diff: 20,
    build: 1_000,
};
/** For each vertex the time from its start to the last result, along its longest chain of users. What is longest goes
 *  first: starting it late would make the whole build late. */
export function chainsMs(job, durationMs) {
    const chains = new Map();
    for (const node of [...job.nodes.values()].reverse()) {
        let after = 0;
        for (const user of node.users)
            after = Math.max(after, chains.get(user.node.vertex.digest) ?? 0);
        const own = durationMs(opName(node.facts.op)) ?? USUAL_MS[node.vertex.op.kind];
        chains.set(node.vertex.digest, own + after);
    }
    return chains;
}
/** Takes away the interest of one user (or root) in a vertex. Gives the vertices that nobody can need any more through
 *  it, inputs before users; `isOver` tells which have their own end and are passed by. */
export function release(job, node, isOver) {
    const spared = [];
    const open = [node];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
        next.interest -= 1;
        if (next.interest > 0 || isOver(next))
            continue;
        spared.push(next);
        for (const input of next.facts.inputs)
            open.push(job.nodes.get(input.vertex));
    }
    return spared.reverse();
}
//# sourceMappingURL=job.js.map