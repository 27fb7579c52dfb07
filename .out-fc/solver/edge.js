// State of one vertex inside one build, and advance(): what happens to it next. Pure: the scheduler performs requests
// and brings back their answers as messages, so every rule of caching can be read, and tested, here.
//
//   pinning ─▶ keying ─▶ keyed ─▶ looking-up ─▶ gathering ─▶ looking-up ─▶ hashing ─▶ looking-up ─▶ running ─▶ settled
//   (sources)  (inputs' keys)  (wanted)  by definition  (inputs' results)  by result  (contents)  by content
//
// Whatever is found ends the way at once. Keys are made bottom up for all vertices, results are wanted top down: what
// lies only below a hit is never asked for.
//
// Long because it is one machine: a rule moved elsewhere would be a rule to look for.
import { contentPart, definitionPart, isContentPart, keyOf, pinPart, resultPart, } from "./cache-key.js";
import { WHOLE } from "./selectors.js";
/** A vertex nobody has asked for yet. Its keys are made all the same, those of its users need them. */
export function openEdge(facts) {
    if (facts.sort === "source")
        return { edge: { phase: "pinning", wanted: false }, requests: [{ kind: "pin" }] };
    const none = facts.inputs.map(() => null);
    return keying(facts, { phase: "keying", wanted: false, parts: none, results: none }, []);
}
/** The next state and what is to be done. Throws for a message that its state cannot get: a bug in the scheduler. */
export function advance(facts, edge, message) {
    if (edge.phase === "settled")
        return { edge, requests: [] }; // late news of inputs it no longer needs
    switch (message.kind) {
        case "want":
            return want(facts, edge);
        case "pinned":
            return pinned(facts, edge, message.pin);
        case "input-key":
            return inputKey(facts, edge, message);
        case "digest":
            return digest(facts, edge, message.index, message.digest);
        case "input-result":
            return inputResult(facts, edge, message.index, message.result);
        case "found":
            if (edge.phase !== "looking-up" && edge.phase !== "running")
                break;
            return settle(edge.key, message.outputs, "found");
        case "missed":
            if (edge.phase !== "looking-up")
                break;
            return missed(facts, edge);
        case "ran":
            if (edge.phase !== "running")
                break;
            return ran(facts, edge.key, message.outputs, message.key);
    }
    throw unexpected(edge, message);
}
/** Keys of a step from its parts, each once: by definition, by result, by content. */
export function keysOf(op, parts) {
    const all = [parts.definition, parts.result, parts.content].filter((some) => some !== null);
    return [...new Set(all.map((some) => keyOf(op, some)))];
}
/** What an edge in this state waits for, in words; null: for nothing. A state that waits for nothing must be an end. */
export function waitsFor(edge) {
    switch (edge.phase) {
        case "pinning":
            return "its pin";
        case "keying":
            return edge.parts.includes(null) ? "keys of its inputs" : null;
        case "keyed":
            return "somebody who wants it";
        case "gathering":
            return edge.results.includes(null) ? "results of its inputs" : null;
        case "hashing":
            return edge.content.includes(null) ? "digests of its inputs" : null;
        case "looking-up":
            return "the cache";
        case "running":
            return "the worker";
        case "settled":
            return null;
    }
}
function want(facts, edge) {
    switch (edge.phase) {
        case "pinning":
            return { edge: { ...edge, wanted: true }, requests: [] };
        case "keying":
            if (edge.wanted)
                return { edge, requests: [] };
            // A key by definition will not be asked for: inputs may start while others are still being hashed.
            return {
                edge: { ...edge, wanted: true },
                requests: asksByDefinition(facts) ? [] : wantMissing(edge.results),
            };
        case "keyed":
            return pursue(facts, edge.key, edge.parts, edge.results, true);
        default:
            return { edge, requests: [] };
    }
}
function pinned(facts, edge, pin) {
    if (edge.phase !== "pinning")
        throw unexpected(edge, { kind: "pinned", pin });
    const parts = pin.digest === null ? null : [pinPart(pin.digest)];
    const key = parts === null ? null : keyOf(facts.op, parts);
    if (pin.result !== null) {
        const settled = settle(key, [pin.result], "pinned");
        return {
            edge: settled.edge,
            requests: [{ kind: "announce", key, result: pin.result }, ...settled.requests],
        };
    }
    // Without name and result only its content can tell, so it is fetched first, wanted or not: keys above need it.
    if (parts === null || key === null) {
        return { edge: { phase: "running", key: null }, requests: [{ kind: "run", parts: null, results: [] }] };
    }
    const announce = { kind: "announce", key, result: null };
    if (!edge.wanted)
        return { edge: { phase: "keyed", key, parts, results: [] }, requests: [announce] };
    const next = pursue(facts, key, parts, [], true);
    return { edge: next.edge, requests: [announce, ...next.requests] };
}
function inputKey(facts, edge, message) {
    const { index, key, result } = message;
    const input = facts.inputs[index];
    if (input === undefined)
        throw unexpected(edge, message);
    if (key === null) {
        if (edge.phase !== "keying" || result === null)
            throw unexpected(edge, message);
        return {
            edge: { ...edge, results: replaced(edge.results, index, result) },
            requests: [{ kind: "hash", index, result, selectors: facts.reads[index] ?? WHOLE }],
        };
    }
    const part = definitionPart(key, input.output);
    switch (edge.phase) {
        case "keying":
            return keying(facts, { ...edge, parts: replaced(edge.parts, index, part) }, []);
        case "keyed":
        case "gathering": {
            // The input read other files than its key said. Whoever has not looked further yet goes by what was read.
            const parts = edge.parts.with(index, part);
            const renamed = keyOf(facts.op, parts);
            return {
                edge: { ...edge, key: renamed, parts },
                requests: [{ kind: "announce", key: renamed, result: null }],
            };
        }
        default:
            throw unexpected(edge, message);
    }
}
function digest(facts, edge, index, value) {
    const part = contentPart(value);
    if (edge.phase === "keying")
        return keying(facts, { ...edge, parts: replaced(edge.parts, index, part) }, []);
    if (edge.phase === "hashing") {
        return hashing(facts, { ...edge, content: replaced(edge.content, index, part) }, []);
    }
    throw unexpected(edge, { kind: "digest", index, digest: value });
}
function inputResult(facts, edge, index, result) {
    if (edge.phase !== "keying" && edge.phase !== "gathering") {
        throw unexpected(edge, { kind: "input-result", index, result });
    }
    const results = replaced(edge.results, index, result);
    return edge.phase === "keying"
        ? { edge: { ...edge, results }, requests: [] }
        : gathering(facts, { ...edge, results });
}
/** Are all parts of the key there? Then the vertex has its name. */
function keying(facts, edge, before) {
    const parts = complete(edge.parts);
    if (parts === null)
        return { edge, requests: before };
    const key = keyOf(facts.op, parts);
    const requests = [...before, { kind: "announce", key, result: null }];
    if (!edge.wanted)
        return { edge: { phase: "keyed", key, parts, results: edge.results }, requests };
    const next = pursue(facts, key, parts, edge.results, asksByDefinition(facts));
    return { edge: next.edge, requests: [...requests, ...next.requests] };
}
/** Named and wanted: ask by definition, or go for the results of the inputs. ask: they are not asked for yet. */
function pursue(facts, key, parts, results, ask) {
    if (asksByDefinition(facts)) {
        return {
            edge: {
                phase: "looking-up",
                by: "definition",
                key,
                parts: { definition: parts, result: null, content: null },
                results,
            },
            requests: [{ kind: "look-up", by: "definition", key, aliases: [] }],
        };
    }
    return gather(facts, key, parts, results, ask);
}
function gather(facts, key, parts, results, ask) {
    const next = gathering(facts, { phase: "gathering", key, parts, results });
    return ask ? { edge: next.edge, requests: [...wantMissing(results), ...next.requests] } : next;
}
function gathering(facts, edge) {
    const results = complete(edge.results);
    if (results === null)
        return { edge, requests: [] };
    const { key, parts: definition } = edge;
    if (facts.inputs.length === 0)
        return run({ definition, result: null, content: null }, key, results); // one name only
    if (facts.sort === "layers") {
        const made = facts.stack(results);
        if (made !== null)
            return settle(key, [made], "made");
    }
    const parts = {
        definition,
        result: definition.map((part, index) => isContentPart(part) ? part : resultPart(results[index], part)),
        content: null,
    };
    if (facts.trust === "none")
        return contents(facts, key, parts, results);
    return lookUp(facts, "result", key, parts, results);
}
function missed(facts, edge) {
    if (edge.by === "definition")
        return gather(facts, edge.key, edge.parts.definition, edge.results, true);
    const results = complete(edge.results);
    if (results === null)
        throw unexpected(edge, { kind: "missed" });
    if (edge.by === "result")
        return contents(facts, edge.key, edge.parts, results);
    return run(edge.parts, edge.key, results);
}
/** After the result key: have those inputs hashed that may count by content and do not yet. */
function contents(facts, key, parts, results) {
    const known = parts.result ?? parts.definition;
    const content = known.map((part, index) => isContentPart(part) || facts.reads[index] === null ? part : null);
    if (!content.includes(null))
        return run(parts, key, results);
    const requests = content.flatMap((part, index) => {
        const [result, selectors] = [results[index], facts.reads[index]];
        return part === null && result && selectors ? [{ kind: "hash", index, result, selectors }] : [];
    });
    return { edge: { phase: "hashing", key, parts, content, results }, requests };
}
function hashing(facts, edge, before) {
    const content = complete(edge.content);
    if (content === null)
        return { edge, requests: before };
    const parts = { ...edge.parts, content };
    if (facts.trust === "none")
        return run(parts, edge.key, edge.results);
    return lookUp(facts, "content", edge.key, parts, edge.results);
}
/** Asks by the newest of the keys; one that was asked before (equal parts) is a miss already. */
function lookUp(facts, by, key, parts, results) {
    const keys = keysOf(facts.op, parts);
    const asked = keyOf(facts.op, (by === "result" ? parts.result : parts.content) ?? parts.definition);
    const edge = { phase: "looking-up", by, key, parts, results };
    if (asked === key && asksByDefinition(facts))
        return missed(facts, edge);
    return {
        edge,
        requests: [{ kind: "look-up", by, key: asked, aliases: keys.filter((other) => other !== asked) }],
    };
}
function run(parts, key, results) {
    return { edge: { phase: "running", key }, requests: [{ kind: "run", parts, results }] };
}
/** Users hear of another name before they get the result, so none of them records under the old one. */
function ran(facts, named, outputs, key) {
    const settled = settle(key, outputs, "ran");
    if (facts.sort === "source" && named === null) {
        const result = outputs[0] ?? null; // fetched without a name: its users may hash it now
        return { edge: settled.edge, requests: [{ kind: "announce", key: null, result }, ...settled.requests] };
    }
    if (key === named)
        return settled;
    return { edge: settled.edge, requests: [{ kind: "announce", key, result: null }, ...settled.requests] };
}
function settle(key, outputs, how) {
    return { edge: { phase: "settled", key, outputs }, requests: [{ kind: "settle", outputs, how }] };
}
/** Ops on layers are first tried by hand, which costs less than asking; forced ones and what is above ask otherwise. */
function asksByDefinition(facts) {
    return facts.trust === "all" && facts.sort !== "layers";
}
function wantMissing(results) {
    return results.flatMap((result, index) => result === null ? [{ kind: "want-input", index }] : []);
}
function replaced(list, index, value) {
    return list.with(index, value);
}
function complete(list) {
    return list.includes(null) ? null : list;
}
function unexpected(edge, message) {
    return new Error(`an edge that is ${edge.phase} got "${message.kind}"`);
}
//# sourceMappingURL=edge.js.map