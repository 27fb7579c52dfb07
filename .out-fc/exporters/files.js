// type=local and type=tar: the root file system as files. Layer files are the keeper's, so it is asked to write them.
import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { formatPlatform } from "../solver/graph/op.js";
import { makeOutputDirectory, requireStdout, writeFileWhole, writeToStream } from "./file-output.js";
const COPY_BYTES = 1 << 20;
/** Writes the files of all images to a directory, a tar file or standard output. Throws OUTPUT_*. */
export async function exportFiles(images, output, deps, context) {
    const { signal } = context;
    const isSplit = output.platformSplit ?? (context.multiPlatform || images.length > 1);
    const trees = images.map(({ layers, platform }) => ({
        layers,
        folder: isSplit ? folderOf(platform) : null,
    }));
    const epochSeconds = output.epochSeconds ?? context.epochSeconds;
    const job = (dest) => ({ trees, form: output.form, dest, epochSeconds });
    if (output.dest.kind === "path") {
        const { path } = output.dest;
        if (output.form === "tar") {
            await writeFileWhole(path, signal, async (temporary) => {
                await deps.files(job(temporary), { signal });
                await syncFile(temporary);
            });
            return;
        }
        await makeOutputDirectory(path);
        await deps.files(job(path), { signal });
        return;
    }
    const stdout = requireStdout(deps.stdout);
    const directory = await mkdtemp(join(deps.store.tempDir(), "export-"));
    try {
        const file = join(directory, "files.tar");
        await deps.files(job(file), { signal });
        await writeToStream(stdout, readChunks(file), signal);
    }
    finally {
        await rm(directory, { recursive: true, force: true });
    }
}
// BuildKit: "/" of the platform becomes "_".
function folderOf(platform) {
    return formatPlatform(platform).replaceAll("/", "_");
}
async function syncFile(path) {
    const file = await open(path, "r");
    try {
        await file.sync();
    }
    finally {
        await file.close();
    }
}
async function* readChunks(path) {
    const file = await open(path, "r");
    try {
        for (;;) {
            const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(COPY_BYTES), 0, COPY_BYTES, null);
            if (bytesRead === 0)
                return;
            yield buffer.subarray(0, bytesRead);
        }
    }
    finally {
        await file.close();
    }
}
//# sourceMappingURL=files.js.map