// Leases: what running processes hold against collection. One file for each open store, owners/<owner>.leases, to which lines are
// only appended; the file counts as long as its owner lives. No record: a lease ends with its process, so it needs no disk
// flush, and write(2) makes it visible to the collector in microseconds.
//
//   "l <lease> <layer id>"   "b <lease> <digest>"   "- <lease>"
//
// Collector and holder cannot miss each other. The holder first writes its line, then looks whether the thing is there. The
// collector first makes the thing unfindable, then reads the lines, and puts back what it finds leased. Whatever the
// order in time, one of the two sees the other. A last line without its end is of a write(2) not yet returned.
import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { errnoOf, onDisk } from "./disk-fault.js";
/** A daemon's file starts anew after that much, when it holds nothing. */
const FILE_MAX_BYTES = 2 ** 18;
const SUFFIX = ".leases";
/** `dir` exists. The file is made with the first lease. */
export function openLeases(dir, owner) {
    const path = join(dir, owner.id + SUFFIX);
    let descriptor = null;
    let bytes = 0;
    let active = 0;
    let serial = 0;
    function append(lines) {
        if (lines.length === 0)
            return;
        const text = Buffer.from(`${lines.join("\n")}\n`);
        onDisk("noting a lease", () => {
            descriptor ??= openSync(path, "a", 0o600);
            // One write: a lease is there as a whole or not.
            if (writeSync(descriptor, text) !== text.length)
                throw new Error("short write to the lease file");
        });
        bytes += text.length;
    }
    /** A new file in place of the long one, never a truncated one: a reader in the middle of it would miss lines. */
    function renew() {
        if (active > 0 || bytes < FILE_MAX_BYTES || descriptor === null)
            return;
        const next = openSync(`${path}.new`, "ax", 0o600);
        renameSync(`${path}.new`, path);
        closeSync(descriptor);
        descriptor = next;
        bytes = 0;
    }
    function lease() {
        const id = serial++;
        let held = false;
        let ended = false;
        function add(lines) {
            if (ended)
                throw new Error("lease used after it ended");
            if (!held)
                active++;
            held = true;
            append(lines);
        }
        return {
            addLayers: (ids) => add(ids.map((layer) => `l ${id} ${layer}`)),
            addBlobs: (digests) => add(digests.map((digest) => `b ${id} ${digest}`)),
            async [Symbol.asyncDispose]() {
                if (ended)
                    return;
                ended = true;
                if (!held || descriptor === null)
                    return;
                append([`- ${id}`]);
                active--;
                renew();
            },
        };
    }
    async function pinned() {
        const layers = new Set();
        const blobs = new Set();
        for (const name of readdirSync(dir)) {
            if (!name.endsWith(SUFFIX))
                continue;
            if (!(await owner.isAlive(name.slice(0, -SUFFIX.length))))
                continue;
            const held = readLeases(join(dir, name));
            for (const { kind, what } of held) {
                if (kind === "l")
                    layers.add(what);
                else
                    blobs.add(what);
            }
        }
        return { layers, blobs };
    }
    function close() {
        if (descriptor !== null)
            closeSync(descriptor);
        descriptor = null;
        rmSync(path, { force: true });
    }
    return { lease, pinned, close };
}
function readLeases(path) {
    let text;
    try {
        text = readFileSync(path, "latin1");
    }
    catch (error) {
        if (errnoOf(error) === "ENOENT")
            return []; // its owner has just closed
        throw error;
    }
    const leases = new Map();
    for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) {
        const [kind, lease = "", what = ""] = line.split(" ");
        if (kind === "-")
            leases.delete(lease);
        else if (kind === "l" || kind === "b") {
            const held = leases.get(lease);
            if (held === undefined)
                leases.set(lease, [{ kind, what }]);
            else
                held.push({ kind, what });
        }
    }
    return [...leases.values()].flat();
}
//# sourceMappingURL=leases.js.map