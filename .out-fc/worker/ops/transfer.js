// [keeper] The bytes of files: copied with or without looking at them, holes kept.
import { createHash } from "node:crypto";
import { ftruncateSync, readSync } from "node:fs";
import { readFully } from "../../cache/path-hash.js";
import { digestFromHex, digestOf } from "../../solver/graph/digest.js";
import { close, copyFileRange, fstat, lseek } from "../sys/file.js";
import { isSysError } from "../sys/libc.js";
import { fileXattrs } from "./fd-tree.js";
import { dressFile, writeFully } from "./place.js";
/** Copies one regular file into a fresh descriptor and closes it. Hashes what it copies when the source is live. */
export function copyFile(source, entry, to, look, idMode) {
    try {
        const from = source.open(entry.path);
        try {
            const opened = fstat(from);
            // Fewer blocks than bytes: there are holes, and they stay.
            const isSparse = opened.blocks * 512 < opened.size;
            let content;
            if (source.live) {
                content = { kind: "file", ...transfer(from, to, isSparse) };
                dressFile(to, { ...look, xattrs: [] }, idMode);
            }
            else {
                clone(from, to, opened.size, isSparse);
                content = { kind: "none" };
                dressFile(to, { ...look, xattrs: fileXattrs(from) }, idMode);
            }
            return content;
        }
        finally {
            close(from);
        }
    }
    finally {
        close(to);
    }
}
/** Content of a file that is not copied. */
export function readContent(source, entry) {
    const fd = source.open(entry.path);
    try {
        return { kind: "file", ...transfer(fd, null, false) };
    }
    finally {
        close(fd);
    }
}
/** 1 MiB: larger ones measured no faster, and it holds most files whole. */
const BUFFER = Buffer.allocUnsafeSlow(1024 * 1024);
const ZEROS = Buffer.alloc(BUFFER.length);
/** Reads to the end, hashes, and writes when there is a target; sparse ones get no zero blocks. */
function transfer(from, to, isSparse) {
    const first = readFully(from, BUFFER);
    if (first < BUFFER.length && !isSparse) {
        const bytes = BUFFER.subarray(0, first);
        if (to !== null)
            writeFully(to, bytes);
        return { digest: digestOf(bytes), size: first };
    }
    const sha = createHash("sha256");
    let size = 0;
    for (let count = first; count > 0; count = readFully(from, BUFFER)) {
        const bytes = BUFFER.subarray(0, count);
        sha.update(bytes);
        if (to !== null) {
            if (isSparse && bytes.equals(ZEROS.subarray(0, count)))
                lseek(to, size + count, 0);
            else
                writeFully(to, bytes);
        }
        size += count;
    }
    if (to !== null && isSparse)
        ftruncateSync(to, size);
    return { digest: digestFromHex(sha.digest("hex")), size };
}
/** Copies without looking at the bytes: shared blocks where the file system can, holes kept. */
function clone(from, to, size, isSparse) {
    if (!isSparse)
        return copyRange(from, to, size);
    for (let at = lseek(from, 0, 3); at !== null && at < size; at = lseek(from, at, 3)) {
        const hole = lseek(from, at, 4) ?? size;
        lseek(from, at, 0);
        lseek(to, at, 0);
        copyRange(from, to, hole - at);
        at = hole;
    }
    ftruncateSync(to, size);
}
/** copy_file_range(2), which not all pairs of file systems have; the rest through memory. */
function copyRange(from, to, length) {
    let left = length;
    try {
        while (left > 0) {
            const count = copyFileRange(from, to, Math.min(left, 1 << 30));
            if (count === 0)
                return;
            left -= count;
        }
    }
    catch (error) {
        if (!isSysError(error, "EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM", "ETXTBSY"))
            throw error;
    }
    while (left > 0) {
        const count = readSync(from, BUFFER, 0, Math.min(left, BUFFER.length), null);
        if (count === 0)
            return;
        writeFully(to, BUFFER.subarray(0, count));
        left -= count;
    }
}
//# sourceMappingURL=transfer.js.map