// Restores errors from the keeper and its threads; freeze-error.ts serializes them. Loaded by the front, so without native code.

import { DiskRefused } from "../../cache/disk-fault.ts";
import { BuildError, type ErrorCode } from "../../solver/graph/error.ts";
import type { WireError } from "./messages.ts";

/** Code of a DiskRefused, in which the front puts the disk's name. */
export const REFUSED = "REFUSED";

/** The error again, on the other side. */
export function thawError(error: WireError): Error {
  if (error.code === REFUSED) return new DiskRefused(error.errno ?? "ENOSPC", error.message, null);
  if (error.code !== "") {
    return new BuildError(error.code as ErrorCode, error.message, {
      hint: error.hint,
      exitCode: error.exitCode,
      left: error.left ?? null,
    });
  }
  const plain = new Error(error.message);
  plain.stack = error.stack;
  return plain;
}
