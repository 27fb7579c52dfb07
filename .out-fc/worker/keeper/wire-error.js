// Errors between the keeper's threads, the keeper and the front.
import { BuildError } from "../../solver/graph/error.js";
/** An error as data. Only BuildError keeps its kind; everything else is a bug or a system error with its stack. */
export function freezeError(error) {
    if (error instanceof BuildError) {
        return { code: error.code, message: error.message, hint: error.hint, exitCode: error.exitCode, stack: error.stack ?? "" };
    }
    if (error instanceof Error) {
        const errno = error.code ?? error.errno;
        if (errno === "ENOSPC") {
            return { code: "STORE_FULL", message: `no space left for the build: ${error.message}`, hint: "tsbuild prune, or --root on a larger disk", exitCode: null, stack: error.stack ?? "" };
        }
        return { code: typeof errno === "string" ? "SYSCALL" : "", message: error.message, hint: null, exitCode: null, stack: error.stack ?? "" };
    }
    return { code: "", message: String(error), hint: null, exitCode: null, stack: "" };
}
/** The error again, on the other side. */
export function thawError(error) {
    if (error.code !== "") {
        return new BuildError(error.code, error.message, { hint: error.hint, exitCode: error.exitCode });
    }
    const plain = new Error(error.message);
    plain.stack = error.stack;
    return plain;
}
//# sourceMappingURL=wire-error.js.map