// A build context that comes as a tar: unpacked into a private directory, by the same code that unpacks ADD's archives.
import { closeSync, constants, openSync } from "node:fs";
import { extractArchive } from "../cache/layers/archive.js";
/** Unpacks the tar (plain or compressed) at `file` into the empty directory `dest`. Throws ARCHIVE_INVALID, LIMIT_EXCEEDED. */
export async function extractContext(file, dest) {
    const directory = openSync(dest, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
        await extractArchive(file, directory, { owners: false }); // COPY gives its own
    }
    finally {
        closeSync(directory);
    }
}
//# sourceMappingURL=context-archive.js.map