// [keeper] A pseudo terminal for `tsbuild run -t`. pty(7), ioctl_tty(2).

import { writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { close, openat } from "../sys/file.ts";
import { ioctl } from "../sys/ioctl.ts";
import { isSysError } from "../sys/libc.ts";
import { openTree } from "../sys/mount.ts";
import { AT, O, OPEN_TREE } from "../sys/constants.ts";

const TIOCSPTLCK = 0x4004_5431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;

export interface Terminal {
  readonly slave: number;
  /** The slave as a detached mount, for /dev/console; null where the kernel does not give one. */
  readonly mount: number | null;
  start(onData: (data: Uint8Array) => Promise<void> | void): void;
  /** Queued: a command that does not read must not hold the keeper. `onTaken`: called when the terminal has it, or will never have. */
  write(data: Uint8Array, onTaken: () => void): void;
  resize(rows: number, columns: number): void;
  /** Resolves when all that was written to the terminal has been read, at the latest `limitMs` after the last of it was taken. */
  finish(limitMs: number): Promise<void>;
  close(): void;
}

/** A terminal buffers 4 KiB for a command that does not read; what is more is offered again after this time. */
const WRITE_RETRY_MS = 20;

/** Opens a terminal pair of the given size (characters). */
export function openTerminal(rows: number, columns: number): Terminal {
  const master = openat(AT.FDCWD, "/dev/ptmx", O.RDWR | O.NONBLOCK | O.NOCTTY);
  ioctl(master, TIOCSPTLCK, Buffer.alloc(4));
  const slave = ioctl(master, TIOCGPTPEER, BigInt(O.RDWR | O.NOCTTY | O.CLOEXEC));
  const mount = cloneSlave(slave);
  const queue: { readonly data: Uint8Array; readonly onTaken: () => void }[] = [];
  let retry: NodeJS.Timeout | null = null;
  let slaveOpen = true;
  let stream: ReadStream | null = null;
  let isTaken = true;
  let ended: Promise<void> = Promise.resolve();
  const closeSlave = (): void => {
    if (slaveOpen) close(slave);
    slaveOpen = false;
  };
  // Not through the stream: libuv writes to a terminal's master with a call that waits.
  const flush = (): void => {
    retry = null;
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      const { data, onTaken } = next;
      try {
        const written = writeSync(master, data);
        if (written < data.length) queue[0] = { data: data.subarray(written), onTaken };
        else {
          queue.shift();
          onTaken();
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") retry = setTimeout(flush, WRITE_RETRY_MS);
        else dropAll(); // EIO: nobody reads any more
        return;
      }
    }
  };
  const dropAll = (): void => {
    for (const { onTaken } of queue.splice(0)) onTaken();
  };
  const stopWriting = (): void => {
    if (retry !== null) clearTimeout(retry);
    dropAll();
  };
  const resize = (height: number, width: number): void => {
    const size = Buffer.alloc(8); // struct winsize
    size.writeUInt16LE(height, 0);
    size.writeUInt16LE(width, 2);
    ioctl(master, TIOCSWINSZ, size);
  };
  resize(rows, columns);
  return {
    slave,
    mount,
    start(onData) {
      const reading = new ReadStream(master);
      stream = reading;
      reading.on("data", (data) => {
        const wait = onData(data);
        if (wait === undefined) return;
        isTaken = false;
        reading.pause();
        wait.then(
          () => {
            isTaken = true;
            reading.resume();
          },
          () => reading.destroy(),
        );
      });
      reading.on("error", () => {}); // EIO: the last process with the terminal is gone
      ended = new Promise((resolve) => reading.once("close", () => resolve()));
    },
    write(data, onTaken) {
      queue.push({ data, onTaken });
      if (retry === null) flush();
    },
    resize,
    async finish(limitMs) {
      stopWriting();
      closeSlave(); // the last one: reading ends with EIO behind the last byte
      await withinMs(
        ended,
        limitMs,
        () => isTaken,
        () => stream?.destroy(),
      );
    },
    close() {
      stopWriting();
      closeSlave();
      if (mount !== null) close(mount);
      if (stream === null) close(master);
      else stream.destroy();
    },
  };
}

/** Waits for the end of output, and calls `stop` when it takes longer; time in which nobody took it does not count. */
export async function withinMs(
  end: Promise<void>,
  limitMs: number,
  isTaken: () => boolean,
  stop: () => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    timer = setTimeout(() => (isTaken() ? stop() : wait()), limitMs);
  };
  wait();
  await end;
  clearTimeout(timer);
}

/** A mount can only be cloned in the namespace it is in, which is this process's. */
function cloneSlave(slave: number): number | null {
  try {
    return openTree(slave, "", OPEN_TREE.CLONE | AT.EMPTY_PATH);
  } catch (error) {
    if (isSysError(error)) return null;
    throw error;
  }
}
