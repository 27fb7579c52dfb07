// OCI image layouts, read: a directory, or a tar of one. image-spec image-layout.md
import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { hexOf, parseDigest } from "../../solver/graph/digest.js";
import { BuildError, printable } from "../../solver/graph/error.js";
import { MANIFEST_MAX_BYTES, parseDocument } from "./documents.js";
export const REF_NAME = "org.opencontainers.image.ref.name";
export const IMAGE_NAME = "io.containerd.image.name";
const CHUNK_BYTES = 1 << 20;
const TAR_ENTRIES_MAX = 100_000;
/** Reads the index of a layout. Throws CONTEXT_MISSING when nothing is there, IMAGE_INVALID when it is no layout. */
export function openLayout(path) {
    const isDirectory = statLayout(path);
    const extents = isDirectory ? null : readTarExtents(path);
    const indexBytes = extents === null ? readFileIn(path) : readExtent(path, extents.get("index.json"));
    const parsed = parseDocument(indexBytes, null, `oci-layout ${path}`);
    if (parsed.kind !== "index")
        throw notLayout(path, "its index.json is not an index");
    const index = parsed;
    return {
        index,
        find(name) {
            const found = findIn(index, name);
            if (found !== null)
                return found;
            if (name?.startsWith("sha256:"))
                return { digest: parseDigest(name), mediaType: null };
            const names = index.manifests.flatMap(({ annotations }) => annotations?.[REF_NAME] ?? []);
            throw new BuildError("IMAGE_UNKNOWN", `no image ${JSON.stringify(name ?? "latest")} in the OCI layout ${path}`, {
                hint: names.length > 0
                    ? `it has ${printable([...new Set(names)].join(", "), 200)}`
                    : "name one by digest: oci-layout://PATH@sha256:…",
            });
        },
        blob: (descriptor, options) => readBlob(extents === null ? `${path}/blobs/sha256/${hexOf(descriptor.digest)}` : path, extents === null ? null : (extents.get(`blobs/sha256/${hexOf(descriptor.digest)}`) ?? "missing"), path, descriptor, options),
    };
}
function findIn(index, name) {
    if (name === null) {
        const only = new Set(index.manifests.map(({ digest }) => digest));
        if (only.size === 1)
            return index.manifests[0] ?? null;
    }
    const wanted = name ?? "latest";
    const fits = ({ digest, annotations }) => digest === wanted || annotations?.[REF_NAME] === wanted || annotations?.[IMAGE_NAME] === wanted;
    return index.manifests.find(fits) ?? null;
}
async function* readBlob(file, extent, layout, { digest, size }, { signal, onBytes }) {
    let fd = null;
    try {
        if (extent !== "missing") {
            fd = openRegular(file);
        }
        if (fd === null || extent === "missing") {
            throw new BuildError("IMAGE_UNKNOWN", `${digest} is not in the OCI layout ${layout}`);
        }
        const hash = createHash("sha256");
        const from = extent?.offset ?? 0;
        const total = extent?.size ?? fstatSync(fd).size;
        if (total > size)
            throw mismatch(layout, digest);
        for (let at = 0; at < total;) {
            signal.throwIfAborted();
            const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, total - at));
            const count = readSync(fd, buffer, 0, buffer.length, from + at);
            if (count === 0)
                break;
            const chunk = buffer.subarray(0, count);
            hash.update(chunk);
            at += count;
            onBytes?.(at, total);
            yield chunk;
        }
        if (hash.digest("hex") !== hexOf(digest))
            throw mismatch(layout, digest);
    }
    finally {
        if (fd !== null)
            closeSync(fd);
    }
}
// O_NONBLOCK: a FIFO in place of a blob must not hold the build.
function openRegular(file) {
    let fd;
    try {
        fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    }
    catch (error) {
        if (error.code === "ENOENT")
            return null;
        throw error;
    }
    if (fstatSync(fd).isFile())
        return fd;
    closeSync(fd);
    return null;
}
function statLayout(path) {
    try {
        const stats = statSync(path);
        if (stats.isDirectory() || stats.isFile())
            return stats.isDirectory();
    }
    catch (cause) {
        throw new BuildError("CONTEXT_MISSING", `there is no OCI layout at ${path}`, { cause });
    }
    throw notLayout(path, "neither a directory nor a file");
}
function readFileIn(path) {
    try {
        if (statSync(`${path}/index.json`).size > MANIFEST_MAX_BYTES)
            throw notLayout(path, "its index.json is too large");
        return readFileSync(`${path}/index.json`);
    }
    catch (cause) {
        if (cause instanceof BuildError)
            throw cause;
        throw notLayout(path, "it has no index.json", cause);
    }
}
function readExtent(path, extent) {
    if (extent === undefined)
        throw notLayout(path, "it has no index.json");
    if (extent.size > MANIFEST_MAX_BYTES)
        throw notLayout(path, "its index.json is too large");
    const fd = openSync(path, "r");
    try {
        const buffer = Buffer.alloc(extent.size);
        readSync(fd, buffer, 0, extent.size, extent.offset);
        return buffer;
    }
    finally {
        closeSync(fd);
    }
}
// Places of the members, so that a blob is read straight out of the tar. Only regular files matter; names and sizes of
// layouts fit the ustar header, but a writer may still use a pax record for them. POSIX pax, "ustar Interchange Format".
function readTarExtents(path) {
    const extents = new Map();
    const fd = openSync(path, "r");
    try {
        const fileSize = fstatSync(fd).size;
        const header = Buffer.alloc(512);
        let pax = new Map();
        for (let at = 0, entries = 0; at + 512 <= fileSize; entries++) {
            if (entries > TAR_ENTRIES_MAX)
                throw notLayout(path, "the tar has too many entries");
            readSync(fd, header, 0, 512, at);
            if (header.every((byte) => byte === 0))
                break;
            if (!checksumFits(header))
                throw notLayout(path, entries === 0 ? "not an uncompressed tar" : "the tar is damaged");
            const type = String.fromCharCode(header[156] ?? 0);
            const size = Number(pax.get("size") ?? octal(header.subarray(124, 136)));
            if (!Number.isSafeInteger(size) || size < 0 || at + 512 + size > fileSize)
                throw notLayout(path, "the tar is truncated");
            const data = { offset: at + 512, size };
            at += 512 + Math.ceil(size / 512) * 512;
            if (type === "x" || type === "L") {
                if (size > CHUNK_BYTES)
                    throw notLayout(path, "the tar has an oversized header");
                const text = readExtent(path, data);
                pax =
                    type === "x"
                        ? paxRecords(text)
                        : new Map([["path", Buffer.from(text).toString("utf8").replace(/\0.*$/s, "")]]);
                continue;
            }
            if (type === "0" || type === "\0") {
                const name = pax.get("path") ?? ustarName(header);
                extents.set(name.replace(/^(?:\.?\/)+/, ""), data);
            }
            if (type !== "g")
                pax = new Map();
        }
    }
    finally {
        closeSync(fd);
    }
    return extents;
}
function checksumFits(header) {
    let sum = 8 * 32; // the field itself counts as spaces
    for (let i = 0; i < 512; i++)
        if (i < 148 || i >= 156)
            sum += header[i] ?? 0;
    return sum === octal(header.subarray(148, 156));
}
function octal(field) {
    if (((field[0] ?? 0) & 0x80) !== 0)
        return Number(BigInt(`0x${field.toString("hex")}`) & ((1n << 88n) - 1n)); // GNU, base 256
    return Number.parseInt(field
        .toString("latin1")
        .replace(/[\0 ]+$/g, "")
        .trim() || "0", 8);
}
function ustarName(header) {
    const text = (start, end) => header.toString("utf8", start, end).replace(/\0.*$/s, "");
    const prefix = header.toString("latin1", 257, 262) === "ustar" ? text(345, 500) : "";
    return prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`;
}
function paxRecords(data) {
    const records = new Map();
    const bytes = Buffer.from(data);
    for (let at = 0; at < bytes.length;) {
        const space = bytes.indexOf(0x20, at);
        const length = space < 0 ? Number.NaN : Number(bytes.toString("latin1", at, space));
        if (!Number.isSafeInteger(length) || length < 5 || at + length > bytes.length)
            break;
        const record = bytes.toString("utf8", space + 1, at + length - 1);
        const equals = record.indexOf("=");
        if (equals > 0)
            records.set(record.slice(0, equals), record.slice(equals + 1));
        at += length;
    }
    return records;
}
function mismatch(layout, digest) {
    return new BuildError("DIGEST_MISMATCH", `${digest} in the OCI layout ${layout} has other content`);
}
function notLayout(path, problem, cause) {
    return new BuildError("IMAGE_INVALID", `${path} is not an OCI layout: ${problem}`, { cause });
}
//# sourceMappingURL=layout.js.map