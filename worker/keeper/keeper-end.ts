// How a keeper ended, or did not start, in words.

import { BuildError } from "../../solver/graph/error.ts";
import { signalName, signalWords } from "../killed.ts";

/** What the launcher says at the end: the keeper's wait(2) status. A failed call is told with FAILURE_BYTES. */
export const STATUS_BYTES = 8;
export const FAILURE_BYTES = 16;

/** How a keeper ended that should not have. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

/** The keeper's wait(2) status, told by its launcher; without one, what is known of the launcher. */
export function statusOf(status: Uint8Array, launcherCode: number | null): Ended {
  if (status.length < STATUS_BYTES) return { code: launcherCode, signal: null };
  const raw = Buffer.from(status).readUInt32LE(0);
  const number = raw & 0x7f;
  return number === 0
    ? { code: (raw >> 8) & 0xff, signal: null }
    : { code: null, signal: signalName(number) };
}

/** The error of jobs whose keeper is gone; `words`: what it wrote to its standard error. */
export function keeperError(how: Ended | Error, words: string, wasOutOfMemory: () => boolean): BuildError {
  const tail = words === "" ? "" : `: ${words}`;
  if (how instanceof Error)
    return new BuildError("SANDBOX_UNAVAILABLE", `the keeper process ended: ${how.message}${tail}`, {
      cause: how,
    });
  const { text, hint } =
    how.signal === null
      ? { text: `exit code ${how.code}`, hint: null }
      : signalWords(how.signal, how.signal === "SIGKILL" && wasOutOfMemory());
  return new BuildError("SANDBOX_UNAVAILABLE", `the keeper process ended: ${text}${tail}`, { hint });
}

/** What a failed call of the launcher means: FAILURE_BYTES it has said. */
export function startError(data: Uint8Array): BuildError {
  // A failed call is told as (record address, -errno).
  const errno =
    data.length >= FAILURE_BYTES
      ? -Number(new DataView(data.buffer, data.byteOffset, data.length).getBigInt64(8, true))
      : 0;
  const hint =
    errno === 1 || errno === 13 || errno === 28
      ? "allow unprivileged user namespaces: sysctl user.max_user_namespaces=28633, and on Ubuntu sysctl kernel.apparmor_restrict_unprivileged_userns=0"
      : null;
  return new BuildError(
    "SANDBOX_UNAVAILABLE",
    `the kernel refused the keeper's namespaces (errno ${errno})`,
    { hint },
  );
}
