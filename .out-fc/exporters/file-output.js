// Outputs as files: they appear under their name whole or not at all.
import { randomBytes } from "node:crypto";
import { lstat, mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BuildError } from "../solver/graph/error.js";
/**
 * Writes a stream to a file (temporary file, fsync, rename; the umask decides its mode), straight to a device or
 * pipe, or to standard output.
 */
export async function writeOutput(dest, data, options) {
    if (dest.kind === "stdout")
        return await writeToStream(requireStdout(options.stdout), data, options.signal);
    if (await isSpecialFile(dest.path)) {
        const device = await open(dest.path, "w");
        try {
            return await writeTo(device, data, options.signal);
        }
        finally {
            await device.close();
        }
    }
    await writeFileWhole(dest.path, options.signal, async (temporary) => {
        const file = await open(temporary, "wx", 0o666);
        try {
            await writeTo(file, data, options.signal);
            await file.sync();
        }
        finally {
            await file.close();
        }
    });
}
/**
 * Lets `make` fill a temporary file beside `path`, then gives it that name. Links are followed. Throws OUTPUT_FAILED;
 * OUTPUT_INVALID for a directory and what else is no regular file.
 */
export async function writeFileWhole(path, signal, make) {
    try {
        const target = await resolveTarget(path);
        if (target.isSpecial) {
            throw new BuildError("OUTPUT_INVALID", `the output file ${path} is not a regular file`, {
                hint: "dest=- writes to standard output",
            });
        }
        await mkdir(dirname(target.path), { recursive: true });
        const temporary = join(dirname(target.path), `.${basename(target.path)}.${randomBytes(6).toString("hex")}.tmp`);
        try {
            await make(temporary);
            signal.throwIfAborted();
            await rename(temporary, target.path);
        }
        catch (error) {
            await rm(temporary, { force: true });
            throw error;
        }
        await syncDirectory(dirname(target.path));
    }
    catch (error) {
        throw wrapped(error, path, signal);
    }
}
/** Makes an output directory (with parents, the umask decides the mode). Throws OUTPUT_INVALID when a file has the name. */
export async function makeOutputDirectory(path) {
    try {
        await mkdir(path, { recursive: true });
    }
    catch (cause) {
        const code = cause.code;
        if (code === "EEXIST" || code === "ENOTDIR") {
            throw new BuildError("OUTPUT_INVALID", `destination directory ${path} is a file`, { cause });
        }
        throw wrapped(cause, path, null);
    }
}
/** A device or pipe: /dev/null, /dev/stdout, a FIFO. */
async function isSpecialFile(path) {
    const stats = await stat(path).catch(() => null); // what is wrong with it is said when it is written
    return stats !== null && !stats.isFile() && !stats.isDirectory();
}
async function resolveTarget(path) {
    let real;
    try {
        real = await realpath(path);
    }
    catch (error) {
        if (error.code !== "ENOENT")
            throw error;
        return { path, isSpecial: false };
    }
    const stats = await lstat(real);
    if (stats.isDirectory()) {
        throw new BuildError("OUTPUT_INVALID", `destination file ${path} is a directory`, {
            hint: "name a file, or use tar=false",
        });
    }
    return { path: real, isSpecial: !stats.isFile() };
}
async function writeTo(file, data, signal) {
    for await (const chunk of data) {
        signal.throwIfAborted();
        for (let at = 0; at < chunk.length;)
            at += (await file.write(chunk, at)).bytesWritten;
    }
}
/** Writes to a stream that stays open, with its back-pressure. A reader that goes away is OUTPUT_FAILED. */
export async function writeToStream(stream, data, signal) {
    let failure = null;
    let wake = null;
    const onError = (error) => {
        failure = error;
        wake?.();
    };
    const onDrain = () => wake?.();
    stream.on("error", onError).on("drain", onDrain).on("close", onDrain);
    signal.addEventListener("abort", onDrain);
    try {
        for await (const chunk of data) {
            signal.throwIfAborted();
            if (failure !== null)
                break;
            if (!stream.write(chunk)) {
                await new Promise((resolve) => {
                    wake = resolve;
                    if (stream.destroyed || failure !== null || !stream.writableNeedDrain)
                        resolve();
                });
                wake = null;
                signal.throwIfAborted();
            }
        }
        if (failure === null)
            await new Promise((resolve) => stream.write("", () => resolve()));
    }
    finally {
        stream.off("error", onError).off("drain", onDrain).off("close", onDrain);
        signal.removeEventListener("abort", onDrain);
    }
    if (failure !== null) {
        throw new BuildError("OUTPUT_FAILED", "the output could not be written: its reader went away", {
            cause: failure,
        });
    }
}
/** Standard output for bytes. Throws OUTPUT_INVALID when it is a terminal. */
export function requireStdout(stdout) {
    if (stdout !== null)
        return stdout;
    throw new BuildError("OUTPUT_INVALID", "refusing to write an image or tar to a terminal", {
        hint: "name a file with dest=FILE, or redirect standard output",
    });
}
async function syncDirectory(path) {
    const directory = await open(path, "r");
    try {
        await directory.sync();
    }
    finally {
        await directory.close();
    }
}
function wrapped(error, path, signal) {
    if (error instanceof BuildError || signal?.aborted || !(error instanceof Error))
        return error;
    const { code } = error;
    if (code === undefined)
        return error;
    const words = {
        ENOSPC: "no space left on the disk",
        EDQUOT: "the disk quota is used up",
        EACCES: "permission denied",
        EROFS: "the file system is read-only",
        ENOTDIR: "a parent is not a directory",
    };
    return new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${words[code] ?? error.message}`, {
        cause: error,
    });
}
//# sourceMappingURL=file-output.js.map