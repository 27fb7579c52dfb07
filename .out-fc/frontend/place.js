// Errors of what an instruction leads to get the instruction's place.
import { BuildError, locate } from "../solver/graph/error.js";
/** Runs `work`; an error of the user's without a place gets this one. */
export function atPlace(at, work) {
    try {
        return work();
    }
    catch (error) {
        throw error instanceof BuildError ? locate(error, at, null) : error;
    }
}
/** The same for work that takes time. */
export async function atPlaceLater(at, work) {
    try {
        return await work();
    }
    catch (error) {
        throw error instanceof BuildError ? locate(error, at, null) : error;
    }
}
//# sourceMappingURL=place.js.map