// [keeper] Converts what the launcher of a step wrote to its status descriptor to an outcome or a user error.

import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import type { ExecJob, ExecOutcome } from "../keeper/messages.ts";
import { RUSAGE_BYTES, STEP_STATUS } from "./step-plan.ts";
import type { stepProgram } from "./step-program.ts";

/** What is known of a step that was killed before it could tell anything. */
export const KILLED: ExecOutcome = { code: null, signal: os.signals.SIGKILL, cpuMs: 0, peakBytes: 0 };

/** Judges the status bytes of a launcher that is gone. Throws EXEC_FAILED and SANDBOX_UNAVAILABLE. */
export function outcomeOf(
  status: Buffer,
  describe: ReturnType<typeof stepProgram>["describe"],
  job: ExecJob,
  singleId: boolean,
): ExecOutcome {
  let outcome: ExecOutcome | null = null;
  let failure: BuildError | null = null;
  for (let at = 0; at + 16 <= status.length; at += 16) {
    const kind = status.readBigUInt64LE(at);
    if (kind === STEP_STATUS.exit) {
      outcome = exitOf(status.readBigUInt64LE(at + 8), status.subarray(at + 16, at + 16 + RUSAGE_BYTES));
      at += RUSAGE_BYTES;
    } else if (kind === STEP_STATUS.notFound) {
      failure ??= notFoundError(job);
    } else if (kind === STEP_STATUS.execFailed) {
      failure ??= execError(Number(-status.readBigInt64LE(at + 8)), job);
    } else if (kind !== STEP_STATUS.pid && kind !== STEP_STATUS.started) {
      failure ??= setupError(describe(kind), Number(-status.readBigInt64LE(at + 8)), singleId);
    }
  }
  if (failure !== null) throw failure;
  // Nothing said: killed before it could tell (a cancel); the launcher took the step with it.
  return outcome ?? KILLED;
}

/** wait(2) status and struct rusage, getrusage(2). */
function exitOf(value: bigint, usage: Buffer): ExecOutcome {
  const raw = Number(value & 0xffff_ffffn);
  const signal = raw & 0x7f;
  const whole = usage.length === RUSAGE_BYTES;
  const milliseconds = (at: number): number =>
    Number(usage.readBigInt64LE(at)) * 1000 + Number(usage.readBigInt64LE(at + 8)) / 1000;
  return {
    code: signal === 0 ? (raw >> 8) & 0xff : null,
    signal: signal === 0 ? null : signal,
    cpuMs: whole ? milliseconds(0) + milliseconds(16) : 0,
    peakBytes: whole ? Number(usage.readBigInt64LE(32)) * 1024 : 0,
  };
}

function errnoName(number: number): string {
  return Object.entries(os.errno).find(([, value]) => value === number)?.[0] ?? `errno ${number}`;
}

function notFoundError(job: ExecJob): BuildError {
  return new BuildError("EXEC_FAILED", `exec: "${job.args[0] ?? ""}": executable file not found in $PATH`, {
    exitCode: 127,
  });
}

/** Words of Go's syscall.Errno, as users of other builders know them, and what to do. */
const EXEC_ERRORS: Readonly<Record<number, { readonly words: string; readonly hint: string | null }>> = {
  [os.errno.ENOENT]: { words: "no such file or directory", hint: null },
  [os.errno.EACCES]: {
    words: "permission denied",
    hint: "check that the file is executable for the user of this step (chmod +x)",
  },
  [os.errno.ENOEXEC]: {
    words: "exec format error",
    hint: "a script needs a first line such as #!/bin/sh; a program must be for this machine's architecture",
  },
  [os.errno.ENOTDIR]: { words: "not a directory", hint: null },
  [os.errno.E2BIG]: {
    words: "argument list too long",
    hint: "Linux allows 128 KiB for one argument or environment variable; put long text in a file (COPY <<EOF)",
  },
};

/** The command could not be executed: the errno of execve(2). */
export function execError(errnum: number, job: ExecJob): BuildError {
  const name = job.args[0] ?? "";
  const known = EXEC_ERRORS[errnum];
  return new BuildError("EXEC_FAILED", `exec: "${name}": ${known?.words ?? errnoName(errnum)}`, {
    exitCode: errnum === os.errno.ENOENT ? 127 : 126,
    hint:
      errnum === os.errno.ENOENT
        ? `check that the image contains ${name} and the interpreter or dynamic loader that it names`
        : (known?.hint ?? null),
  });
}

/** A system call of a sandbox program failed. */
export function setupError(
  record: { call: string; what: string } | null,
  errnum: number,
  singleId: boolean,
): BuildError {
  const what =
    record?.what === undefined || record.what === "" ? (record?.call ?? "a system call") : record.what;
  const ids = /^(becoming|owner|setting the groups)/.test(what);
  return new BuildError("SANDBOX_UNAVAILABLE", `${what} failed: ${errnoName(errnum)}`, {
    hint: ids
      ? singleId
        ? "this needs subordinate ids: apt-get install uidmap, and add entries for your user to /etc/subuid and /etc/subgid"
        : "the id is outside the ranges this user has in /etc/subuid and /etc/subgid"
      : null,
  });
}
