// Definition to and from its protocol form, pb.Definition: what travels between a client and a daemon.
import { digestOf } from "./digest.js";
import { BuildError } from "./error.js";
import { decodeHead, decodeOp, encodeHead, encodeOp } from "./llb.js";
import { blobs, bytes, decode, encode, flag, int, list, map, message, sub, text, } from "./wire.js";
/** Vertices of one definition; more are refused. */
export const DEFINITION_MAX_VERTICES = 100_000;
/** Bytes of one definition; more are refused. */
export const DEFINITION_MAX_BYTES = 64 << 20;
/** Where BuildKit keeps the name of a vertex. */
const NAME_KEY = "llb.customname";
const POSITION = message({ line: int(1), character: int(2) });
const RANGE = message({ start: sub(1, POSITION), end: sub(2, POSITION) });
const LOCATIONS = message({ locations: list(1, message({ sourceIndex: int(1), ranges: list(2, RANGE) })) });
const LINUX_RESOURCES = message({
    memory: int(1),
    memorySwap: int(2),
    cpuShares: int(3),
    cpuPeriod: int(4),
    cpuQuota: int(5),
    cpusetCpus: text(6),
    cpusetMems: text(7),
});
const METADATA = message({
    ignoreCache: flag(1),
    description: map(2, text(2)),
    exportCache: sub(4, message({ value: flag(1) })),
    caps: map(5, flag(2)),
    progressGroup: sub(6, message({ id: text(1), name: text(2), weak: flag(3) })),
    linuxResources: sub(7, LINUX_RESOURCES),
});
const SOURCE = message({
    locations: map(1, sub(2, LOCATIONS)),
    // The definition of a source info (field 3) tells where the file came from; nobody here asks.
    infos: list(2, message({ filename: text(1), data: bytes(2), definition: bytes(3), language: text(4) })),
});
const DEFINITION = message({ def: blobs(1), metadata: map(2, sub(2, METADATA)), source: sub(3, SOURCE) });
/** Protocol bytes of a definition. sources: text of the files that notes point into, for the other side's excerpts. */
export function encodeDefinition(definition, sources = new Map()) {
    const { root } = definition;
    if (root === null)
        return encode(DEFINITION, {});
    // A vertex that came from foreign bytes may encode to other bytes here: digests are made anew, inputs first.
    const renamed = new Map();
    const follow = (input) => ({ ...input, vertex: renamed.get(input.vertex) ?? input.vertex });
    const def = [];
    const metadata = new Map();
    for (const vertex of definition.vertices.values()) {
        const data = encodeOp(vertex.op, vertex.platform, vertex.inputs.map(follow));
        const digest = digestOf(data);
        renamed.set(vertex.digest, digest);
        def.push(data);
        metadata.set(digest, metadataOf(definition.notes.get(vertex.digest)));
    }
    def.push(encodeHead(follow(root)));
    return encode(DEFINITION, { def, metadata, source: sourceOf(definition, renamed, sources) });
}
function metadataOf(note) {
    return {
        ignoreCache: note?.ignoreCache ?? false,
        description: new Map(note === undefined || note.name === "" ? [] : [[NAME_KEY, note.name]]),
        exportCache: null,
        caps: new Map(),
        progressGroup: note?.group ?? null,
        linuxResources: null,
    };
}
function sourceOf(definition, renamed, sources) {
    const files = [];
    const locations = [];
    for (const [digest, note] of definition.notes) {
        if (note.at.length === 0)
            continue;
        for (const { file } of note.at)
            if (!files.includes(file))
                files.push(file);
        locations.push([
            renamed.get(digest) ?? digest,
            {
                locations: note.at.map((range) => ({
                    sourceIndex: files.indexOf(range.file),
                    ranges: [rangeToRaw(range)],
                })),
            },
        ]);
    }
    if (files.length === 0)
        return null;
    const empty = new Uint8Array(0);
    return {
        locations: new Map(locations),
        infos: files.map((filename) => ({
            filename,
            data: sources.get(filename) ?? empty,
            definition: empty,
            language: "Dockerfile",
        })),
    };
}
function rangeToRaw({ start, end }) {
    // Columns count from 0 in the protocol.
    return {
        start: { line: start.line, character: start.column - 1 },
        end: { line: end.line, character: end.column - 1 },
    };
}
/** What protocol bytes say. Throws USAGE or DIGEST_INVALID for what is no definition, LIMIT_EXCEEDED for too big ones. */
export function decodeDefinition(data) {
    if (data.length > DEFINITION_MAX_BYTES) {
        throw new BuildError("LIMIT_EXCEEDED", `a definition of ${data.length} bytes is over ${DEFINITION_MAX_BYTES}`);
    }
    const raw = decode(DEFINITION, data, "LLB definition");
    if (raw.def.length > DEFINITION_MAX_VERTICES) {
        throw new BuildError("LIMIT_EXCEEDED", `a definition of ${raw.def.length} steps is over ${DEFINITION_MAX_VERTICES}`);
    }
    const head = raw.def.at(-1);
    if (head === undefined)
        return { vertices: new Map(), notes: new Map(), root: null };
    const loose = new Map();
    for (const bytes of raw.def.slice(0, -1)) {
        const digest = digestOf(bytes);
        loose.set(digest, { digest, ...decodeOp(bytes) });
    }
    const root = decodeHead(head);
    const vertices = sortVertices(loose, root);
    const notes = new Map();
    for (const digest of vertices.keys()) {
        notes.set(digest, noteOf(digest, raw.metadata.get(digest) ?? null, raw.source));
    }
    return { vertices, notes, root };
}
/** What root reaches, inputs before their users; the order of the bytes is not trusted. */
function sortVertices(loose, root) {
    const sorted = new Map();
    const stack = [];
    const enter = (digest) => {
        if (sorted.has(digest))
            return;
        const vertex = loose.get(digest);
        if (vertex === undefined)
            throw new BuildError("USAGE", `not a valid LLB definition: step ${digest} is missing`);
        stack.push({ vertex, next: 0 });
    };
    enter(root.vertex);
    // Digests cannot form a cycle: a vertex's bytes hold the digests of its inputs.
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
        const input = top.vertex.inputs[top.next++];
        if (input !== undefined) {
            enter(input.vertex);
        }
        else {
            sorted.set(top.vertex.digest, top.vertex);
            stack.pop();
        }
    }
    return sorted;
}
function noteOf(digest, metadata, source) {
    const at = [];
    for (const location of source?.locations.get(digest)?.locations ?? []) {
        const file = source?.infos[location.sourceIndex]?.filename;
        if (file === undefined)
            continue;
        for (const { start, end } of location.ranges) {
            at.push({
                file,
                start: { line: start?.line ?? 0, column: (start?.character ?? 0) + 1 },
                end: { line: end?.line ?? 0, column: (end?.character ?? 0) + 1 },
            });
        }
    }
    return {
        name: metadata?.description.get(NAME_KEY) ?? "",
        ignoreCache: metadata?.ignoreCache ?? false,
        at,
        group: metadata?.progressGroup ?? null,
    };
}
//# sourceMappingURL=llb-definition.js.map