// Ctrl-C and its kin: the first aborts and is waited for, the second leaves at once.
import { constants } from "node:os";
/** What the abort signal's reason is. */
export class Interrupted extends Error {
    name = "Interrupted";
}
/** Listens for SIGINT, SIGTERM and SIGHUP until the process ends. */
export function listenForSignals() {
    const controller = new AbortController();
    let code = null;
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
        process.on(name, () => {
            const again = code !== null;
            code ??= 128 + constants.signals[name];
            if (again)
                process.exit(code);
            controller.abort(new Interrupted(`stopped by ${name}`));
        });
    }
    return { signal: controller.signal, exitCode: () => code };
}
//# sourceMappingURL=signals.js.map