// System errors of the store's disk in the user's words.
import { BuildError } from "../solver/graph/error.js";
/** errno name ("ENOENT") of a system error, or null. */
export function errnoOf(error) {
    if (!(error instanceof Error))
        return null;
    const code = error.code;
    if (typeof code === "string")
        return code;
    // lmdb puts the number or only strerror's text there.
    if (/no space left on device/i.test(error.message))
        return "ENOSPC";
    if (/disk quota exceeded/i.test(error.message))
        return "EDQUOT";
    return null;
}
/** The error to throw for a failed call on the store: STORE_FULL, STORE_UNUSABLE, or the error itself. */
export function diskFault(error, doing) {
    if (error instanceof BuildError)
        return error;
    switch (errnoOf(error)) {
        case "ENOSPC":
        case "EDQUOT":
            return new BuildError("STORE_FULL", `no space left on the disk of the store while ${doing}`, {
                cause: error,
                hint: "free some space there, with `tsbuild prune` for example, and run the build again",
            });
        case "EROFS":
        case "EACCES":
        case "EPERM":
            return new BuildError("STORE_UNUSABLE", `the store cannot be written to: ${doing}`, {
                cause: error,
                hint: "the store must be on a writable file system and belong to the user who builds",
            });
        default:
            return error;
    }
}
/** Runs a piece of synchronous disk work; failures leave as diskFault() words them. */
export function onDisk(doing, work) {
    try {
        return work();
    }
    catch (error) {
        throw diskFault(error, doing);
    }
}
//# sourceMappingURL=disk-fault.js.map