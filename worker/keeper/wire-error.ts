// Errors between the keeper's threads, the keeper and the front.

import { BuildError, type ErrorCode } from "../../solver/graph/error.ts";
import type { WireError } from "./messages.ts";

/** An error as data. Only BuildError keeps its kind; everything else is a bug or a system error with its stack. */
export function freezeError(error: unknown): WireError {
  if (error instanceof BuildError) {
    return {
      code: error.code,
      message: error.message,
      hint: error.hint,
      exitCode: error.exitCode,
      stack: error.stack ?? "",
    };
  }
  if (error instanceof Error) {
    const errno = (error as NodeJS.ErrnoException).code ?? (error as { errno?: unknown }).errno;
    if (errno === "ENOSPC") {
      return {
        code: "STORE_FULL",
        message: `no space left for the build: ${error.message}`,
        hint: "tsbuild prune, or --root on a larger disk",
        exitCode: null,
        stack: error.stack ?? "",
      };
    }
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

/** The error again, on the other side. */
export function thawError(error: WireError): Error {
  if (error.code !== "") {
    return new BuildError(error.code as ErrorCode, error.message, {
      hint: error.hint,
      exitCode: error.exitCode,
    });
  }
  const plain = new Error(error.message);
  plain.stack = error.stack;
  return plain;
}
