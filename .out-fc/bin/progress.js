// The ProgressEvent stream to the user: which display, and where it writes.
import { BuildError } from "../solver/graph/error.js";
import { colourTable } from "./colours.js";
import { openProgressState } from "./progress-state.js";
/** --progress, else BUILDKIT_PROGRESS, else auto. "none" is another word for quiet. Throws USAGE. */
export function progressMode(flag, env) {
    const text = flag || env.BUILDKIT_PROGRESS || "auto";
    switch (text) {
        case "auto":
        case "tty":
        case "plain":
        case "rawjson":
        case "quiet":
            return text;
        case "none":
            return "quiet";
        default:
            throw new BuildError("USAGE", `invalid progress mode ${JSON.stringify(text)}`, {
                hint: 'use "auto", "plain", "tty", "rawjson" or "quiet"',
            });
    }
}
/** Opens a display on the stream (standard error). auto: tty on a terminal, else plain. Throws USAGE for tty without one. */
export async function openDisplay(mode, options) {
    const { stream, env } = options;
    const write = (text) => void stream.write(text);
    const isTty = stream.isTTY === true && env.TERM !== "dumb";
    switch (mode) {
        case "tty":
        case "auto": {
            if (isTty) {
                const { openTtyDisplay } = await import("./progress-tty.js");
                const display = openTtyDisplay({
                    write,
                    now: Date.now,
                    size: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
                    colours: colourTable(env),
                });
                // also when the process leaves without finish(): a terminal without a cursor is a bad good-bye
                const restore = () => display.finish();
                process.once("exit", restore);
                return {
                    ...display,
                    finish() {
                        process.off("exit", restore);
                        display.finish();
                    },
                };
            }
            if (mode === "tty") {
                throw new BuildError("USAGE", "--progress=tty: standard error is not a terminal", {
                    hint: "use --progress=plain",
                });
            }
            const { openPlainDisplay } = await import("./progress-plain.js");
            return openPlainDisplay({ write, now: Date.now });
        }
        case "plain": {
            const { openPlainDisplay } = await import("./progress-plain.js");
            return openPlainDisplay({ write, now: Date.now });
        }
        case "rawjson": {
            const { openJsonDisplay } = await import("./progress-json.js");
            return openJsonDisplay({ write });
        }
        case "quiet":
            return openQuietDisplay();
    }
}
/** Shows nothing, but remembers what an error message needs. */
function openQuietDisplay() {
    const state = openProgressState("plain");
    return { state, event: (event) => void state.apply(event), finish() { } };
}
//# sourceMappingURL=progress.js.map