// [keeper] Responds to the calls that a step's second filter reports (seccomp-notify.ts). seccomp_unotify(2)
//
// What is read from the caller's memory may change before the call continues. So a call is only allowed to continue if it is harmless
// with any arguments (inside the step's own network); otherwise the keeper performs the requested operation itself.

import { readSync } from "node:fs";
import { constants as os } from "node:os";
import { BuildError } from "../../solver/graph/error.ts";
import { STEP_FD } from "../launcher/step-fd.ts";
import { close, openat } from "../sys/file.ts";
import { ioctl } from "../sys/ioctl.ts";
import { isSysError } from "../sys/libc.ts";
import { pidfdGetfd, pidfdOpen, socketpair } from "../sys/process.ts";
import { ownProc } from "./own-proc.ts";
import { SOCKETCALL, TOLD_CALLS } from "./seccomp-notify.ts";
import { O } from "../sys/constants.ts";

/** A call as a step made it, with 32-bit programs' ways undone. */
export interface ToldCall {
  readonly call: keyof typeof SOCKETCALL | "getdents64";
  readonly pid: number; // of the thread, in the keeper's pid namespace
  /** Its directory of /proc, for as long as the step lives. */
  readonly proc: string;
  /** The /proc it is in, as a descriptor. */
  readonly procFd: number;
  readonly args: readonly number[];
  /** Bytes of the caller's memory, fewer (or none) where it ends or cannot be read. */
  memory(address: number, length: number): Buffer;
  /** Does the call still wait? Then its number is still its own. */
  isWaiting(): boolean;
}
export type Answer =
  /** The call goes on. */
  | { readonly kind: "continue" }
  | { readonly kind: "error"; readonly errnum: number }
  /** It was made here, and returns this. */
  | { readonly kind: "value"; readonly value: number }
  /** It returns a copy of this descriptor, which is closed here. */
  | { readonly kind: "descriptor"; readonly fd: number; readonly closeOnExec: boolean };

export type Answerer = (call: ToldCall, signal: AbortSignal) => Promise<Answer>;

export interface Notify {
  /** For the launcher: the step's end of a pair of sockets, and the other. They belong to the caller. */
  readonly given: readonly [step: number, outside: number];
  /** Takes one struct seccomp_notif that the launcher with this pid told. Throws SANDBOX_UNAVAILABLE when it cannot be answered. */
  take(message: Buffer, launcherPid: number): void;
  close(): void;
}

const IOCTL = { SEND: 0xc018_2101, ID_VALID: 0x4008_2102, ADDFD: 0x4018_2103 } as const;
const RESP_CONTINUE = 1;
const { EPERM, ENOSYS } = os.errno;

export function openNotify(answer: Answerer): Notify {
  const ended = new AbortController();
  let listener: number | null = null;
  let proc: number | null = null;

  const answered = async (message: Buffer, from: number, files: number): Promise<void> => {
    let result: Answer;
    try {
      const call = toldCall(message, from, files);
      result = call === null ? { kind: "error", errnum: ENOSYS } : await answer(call, ended.signal);
    } catch (error) {
      // A caller that is gone, or no descriptor left here.
      result = { kind: "error", errnum: isSysError(error) ? error.errnum : EPERM };
    }
    try {
      if (!ended.signal.aborted) respond(from, message.readBigUInt64LE(0), result);
    } finally {
      if (result.kind === "descriptor") close(result.fd);
    }
  };
  return {
    given: socketpair(),
    take(message, launcherPid) {
      try {
        listener ??= listenerOf(launcherPid);
        proc ??= ownProc();
      } catch (cause) {
        throw new BuildError(
          "SANDBOX_UNAVAILABLE",
          "the step made a system call that tsbuild is not allowed to handle here",
          {
            cause,
            hint: "check that kernel.yama.ptrace_scope is not 3; with pasta installed, only 32-bit programs make such calls",
          },
        );
      }
      void answered(Buffer.from(message), listener, proc);
    },
    close() {
      ended.abort();
      for (const fd of [listener, proc]) if (fd !== null) close(fd);
      listener = null;
      proc = null;
    },
  };
}

function listenerOf(launcherPid: number): number {
  const pidfd = pidfdOpen(launcherPid);
  try {
    return pidfdGetfd(pidfd, STEP_FD.outsideListener);
  } finally {
    close(pidfd);
  }
}

/** struct seccomp_notif: id, pid, flags, then struct seccomp_data. null: no call that should have been told. */
function toldCall(message: Buffer, listener: number, proc: number): ToldCall | null {
  const pid = message.readUInt32LE(8);
  const number = message.readInt32LE(16);
  const architecture = message.readUInt32LE(20);
  const table = Object.values(TOLD_CALLS).find(({ audit }) => audit === architecture);
  if (table === undefined) return null;
  const args = [0, 1, 2, 3, 4, 5].map((index) => Number(message.readBigUInt64LE(32 + index * 8)));
  const memory = (address: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    try {
      const fd = openat(proc, `${pid}/mem`, O.RDONLY);
      try {
        return bytes.subarray(0, readSync(fd, bytes, 0, length, address));
      } finally {
        close(fd);
      }
    } catch {
      return bytes.subarray(0, 0); // there is none: as much as the kernel finds itself when the call goes on
    }
  };
  const isWaiting = (): boolean => {
    try {
      ioctl(listener, IOCTL.ID_VALID, Buffer.from(message.subarray(0, 8)));
      return true;
    } catch (error) {
      if (!isSysError(error)) throw error;
      return false;
    }
  };
  const caller = { pid, proc: `/proc/self/fd/${proc}/${pid}`, procFd: proc, memory, isWaiting };
  if (number === table.connect) return { call: "connect", ...caller, args };
  if (number === table.sendto) return { call: "sendto", ...caller, args };
  if (number === table.getdents64) return { call: "getdents64", ...caller, args };
  if (number !== table.socketcall) return null;
  const call = (["socket", "connect", "sendto"] as const).find((name) => SOCKETCALL[name] === args[0]);
  if (call === undefined) return null;
  const bytes = memory(args[1] ?? 0, call === "sendto" ? 24 : 12);
  const inner = Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readUInt32LE(index * 4));
  return { call, ...caller, args: inner };
}

function respond(listener: number, id: bigint, answer: Answer): void {
  try {
    const response = Buffer.alloc(24); // struct seccomp_notif_resp: id, val, error, flags
    response.writeBigUInt64LE(id, 0);
    switch (answer.kind) {
      case "continue":
        response.writeUInt32LE(RESP_CONTINUE, 20);
        break;
      case "value":
        response.writeBigInt64LE(BigInt(answer.value), 8);
        break;
      case "error":
        response.writeInt32LE(-answer.errnum, 16);
        break;
      case "descriptor": {
        const add = Buffer.alloc(24); // struct seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags
        add.writeBigUInt64LE(id, 0);
        add.writeUInt32LE(answer.fd, 12);
        if (answer.closeOnExec) add.writeUInt32LE(O.CLOEXEC, 20);
        response.writeBigInt64LE(BigInt(ioctl(listener, IOCTL.ADDFD, add)), 8);
        break;
      }
    }
    ioctl(listener, IOCTL.SEND, response);
  } catch (error) {
    // The caller is gone, or has no descriptor left: it is told nothing, and what it does then is its own.
    if (!isSysError(error)) throw error;
    if (error.errno !== "ENOENT" && answer.kind === "descriptor")
      respond(listener, id, { kind: "error", errnum: error.errnum });
  }
}
