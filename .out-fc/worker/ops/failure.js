// [keeper] Failed system calls as errors of the user.
import { getSystemErrorMap } from "node:util";
import { BuildError } from "../../solver/graph/error.js";
import { SysError } from "../sys/libc.js";
/** Failed system calls as sentences of the user; everything else passes. */
export function inWords(doing, work) {
    try {
        return work();
    }
    catch (error) {
        throw explain(doing, error);
    }
}
/** inWords for work that waits. */
export async function inWordsAsync(doing, work) {
    try {
        return await work();
    }
    catch (error) {
        throw explain(doing, error);
    }
}
function explain(doing, error) {
    if (error instanceof BuildError)
        return error;
    const { errnum, path } = failureOf(error);
    if (errnum === null)
        return error;
    const [name, text] = getSystemErrorMap().get(-errnum) ?? [`E${errnum}`, ""];
    const isFull = name === "ENOSPC" || name === "EDQUOT";
    const where = path === "" ? "" : `${JSON.stringify(path)}: `;
    return new BuildError(isFull ? "STORE_FULL" : "COPY_FAILED", `${doing}: ${where}${text || name}`, {
        cause: error,
    });
}
/** errno and path of our own and of Node's failed calls. */
function failureOf(error) {
    if (error instanceof SysError)
        return { errnum: error.errnum, path: error.path };
    const { errno, path } = (error ?? {});
    return { errnum: typeof errno === "number" ? -errno : null, path: path ?? "" };
}
//# sourceMappingURL=failure.js.map