// Sends the ProgressEvent stream to the user: chooses the display and its output.

import { BuildError } from "../solver/graph/error.ts";
import type { ProgressMode } from "./config.ts";
import type { Environment } from "./engine/request.ts";
import { colourTable } from "./colours.ts";
import { endLogs, isSettled, keepPartial, openProgressState } from "./progress-state.ts";
import type { Display, ProgressStream } from "./display.ts";

/** --progress, else BUILDKIT_PROGRESS, else auto. "none" is another word for quiet. Throws USAGE. */
export function progressMode(flag: string | null, env: Environment): ProgressMode {
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

/** What is being done: the first word on a terminal. */
export type Phase =
  | "Building"
  | "Comparing"
  | "Copying"
  | "Loading"
  | "Pulling"
  | "Pushing"
  | "Resolving"
  | "Saving"
  | "Scanning";

/** Opens a display on the stream (standard error). auto: tty on a terminal, else plain. Throws USAGE for tty without one. */
export async function openDisplay(
  mode: ProgressMode,
  options: {
    readonly stream: ProgressStream;
    readonly env: Environment;
    /** Omitted: Building. */
    readonly phase?: Phase;
  },
): Promise<Display> {
  const { stream, env, phase = "Building" } = options;
  const write = (text: string): void => void stream.write(text);
  const isTty = stream.isTTY === true && env.TERM !== "dumb";
  switch (mode) {
    case "tty":
    case "auto": {
      if (isTty) {
        const { openTtyDisplay } = await import("./progress-tty.ts");
        const display = openTtyDisplay({
          write,
          now: Date.now,
          size: () => ({ columns: stream.columns || 80, rows: stream.rows || 24 }),
          colours: colourTable(env),
          phase,
        });
        // also when the process leaves without finish(): a terminal without a cursor is a bad good-bye
        const restore = (): void => display.finish();
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
      const { openPlainDisplay } = await import("./progress-plain.ts");
      return openPlainDisplay({ write, now: Date.now });
    }
    case "plain": {
      const { openPlainDisplay } = await import("./progress-plain.ts");
      return openPlainDisplay({ write, now: Date.now });
    }
    case "rawjson": {
      const { openJsonDisplay } = await import("./progress-json.ts");
      return openJsonDisplay({ write });
    }
    case "quiet":
      return openQuietDisplay();
  }
}

/** Shows nothing, but remembers what an error message needs. */
async function openQuietDisplay(): Promise<Display> {
  const { openStepLog } = await import("./step-log.ts");
  const state = openProgressState("plain", openStepLog);
  return {
    state,
    event(event) {
      const step = state.apply(event);
      if (step !== null && isSettled(step)) keepPartial(step);
    },
    finish: () => endLogs(state),
  };
}
