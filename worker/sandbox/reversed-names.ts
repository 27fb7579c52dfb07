// [keeper] Lists directories backwards for a step: the keeper makes the call of getdents64(2) on a copy of the step's descriptor, which has the
// same position, and turns around what one call gives. Programs whose result depends on the order then show it, whatever the file system.

import { constants as os } from "node:os";
import { readSync, writeSync } from "node:fs";
import { close, getdents64, openat } from "../sys/file.ts";
import { pidfdGetfd, pidfdOpen } from "../sys/process.ts";
import { O } from "../sys/constants.ts";
import type { Answer, ToldCall } from "./notify.ts";

/** As much as is read for one call, whatever the caller has room for. */
const NAMES_MAX_BYTES = 1 << 20;

/** Answers getdents64(2). Throws SysError, which the caller of the step's call gets. */
export function answerNames(call: ToldCall): Answer {
  const [fd = -1, address = 0, room = 0] = call.args;
  const bytes = Buffer.alloc(Math.min(room >>> 0, NAMES_MAX_BYTES));
  const process = processOf(call);
  if (process === null) return { kind: "error", errnum: os.errno.ESRCH };
  let length: number;
  const pidfd = pidfdOpen(process);
  try {
    const own = pidfdGetfd(pidfd, fd | 0);
    try {
      length = getdents64(own, bytes);
    } finally {
      close(own);
    }
  } finally {
    close(pidfd);
  }
  const names = reversed(bytes.subarray(0, length));
  const memory = openat(call.procFd, `${call.pid}/mem`, O.RDWR);
  try {
    // The number may be another's by now: what is open is the caller's if its call still waits.
    if (!call.isWaiting()) return { kind: "error", errnum: os.errno.ESRCH };
    for (let done = 0; done < names.length; )
      done += writeSync(memory, names, done, names.length - done, address + done);
  } finally {
    close(memory);
  }
  return { kind: "value", value: names.length };
}

/** Descriptors belong to processes, and calls are made by threads. proc_pid_status(5) */
function processOf({ procFd, pid }: ToldCall): number | null {
  const fd = openat(procFd, `${pid}/status`, O.RDONLY);
  try {
    const bytes = Buffer.alloc(4096);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes));
    const found = /^Tgid:\t(\d+)$/m.exec(text)?.[1];
    return found === undefined ? null : Number(found);
  } finally {
    close(fd);
  }
}

/** Entries of struct linux_dirent64 backwards. Positions stay in their order, so that reading goes on where it would have. */
export function reversed(entries: Buffer): Buffer {
  const found: { readonly bytes: Buffer; readonly next: bigint }[] = [];
  for (let at = 0; at + 19 <= entries.length; ) {
    const length = entries.readUInt16LE(at + 16);
    if (length < 19 || at + length > entries.length) break;
    found.push({ bytes: entries.subarray(at, at + length), next: entries.readBigInt64LE(at + 8) });
    at += length;
  }
  return Buffer.concat(
    found.map((_, at) => {
      const entry = Buffer.from((found[found.length - 1 - at] as (typeof found)[number]).bytes);
      entry.writeBigInt64LE((found[at] as (typeof found)[number]).next, 8);
      return entry;
    }),
  );
}
