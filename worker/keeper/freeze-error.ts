// [keeper] Serializes errors from the keeper's threads to the keeper, and to the front; wire-error.ts restores them.

import { BuildError } from "../../solver/graph/error.ts";
import { refusedBy } from "../ops/failure.ts";
import type { WireError } from "./messages.ts";
import { REFUSED } from "./wire-error.ts";

/** An error as data. Only BuildError keeps its kind; everything else is a bug or a system error with its stack. */
export function freezeError(error: unknown): WireError {
  if (error instanceof BuildError) {
    return {
      code: error.code,
      message: error.message,
      hint: error.hint,
      exitCode: error.exitCode,
      left: error.left,
      stack: error.stack ?? "",
    };
  }
  const refused = refusedBy(error, "");
  if (refused !== null) {
    const { code: errno, doing: message } = refused;
    return { code: REFUSED, message, errno, hint: null, exitCode: null, stack: refused.stack ?? "" };
  }
  if (error instanceof Error) {
    const errno = (error as NodeJS.ErrnoException).code ?? (error as { errno?: unknown }).errno;
    return {
      code: typeof errno === "string" ? "SYSCALL" : "",
      message: error.message,
      hint: null,
      exitCode: null,
      stack: error.stack ?? "",
    };
  }
  return { code: "", message: String(error), hint: null, exitCode: null, stack: "" };
}
