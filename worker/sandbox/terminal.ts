// [keeper] A pseudo terminal for `tsbuild run -t`. pty(7), ioctl_tty(2).

import { ReadStream } from "node:tty";
import { writeSync } from "node:fs";
import { AT, close, O, openat } from "../sys/file.ts";
import { ioctl } from "../sys/ioctl.ts";

const TIOCSPTLCK = 0x4004_5431;
const TIOCGPTPEER = 0x5441;
const TIOCSWINSZ = 0x5414;
const O_NOCTTY = 0o400;

export interface Terminal {
  readonly slave: number;
  start(onData: (data: Uint8Array) => void): void;
  write(data: Uint8Array): void;
  resize(rows: number, columns: number): void;
  close(): void;
}

/** Opens a terminal pair of the given size (characters). */
export function openTerminal(rows: number, columns: number): Terminal {
  const master = openat(AT.FDCWD, "/dev/ptmx", O.RDWR | O_NOCTTY);
  ioctl(master, TIOCSPTLCK, Buffer.alloc(4));
  const slave = ioctl(master, TIOCGPTPEER, BigInt(O.RDWR | O_NOCTTY | O.CLOEXEC));
  let stream: ReadStream | null = null;
  const resize = (height: number, width: number): void => {
    const size = Buffer.alloc(8); // struct winsize
    size.writeUInt16LE(height, 0);
    size.writeUInt16LE(width, 2);
    ioctl(master, TIOCSWINSZ, size);
  };
  resize(rows, columns);
  return {
    slave,
    start(onData) {
      stream = new ReadStream(master);
      stream.on("data", onData);
      stream.on("error", () => {}); // EIO: the last process with the terminal is gone
    },
    write(data) {
      let offset = 0;
      while (offset < data.length) {
        try {
          offset += writeSync(master, data, offset);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return; // EIO: nobody reads any more
        }
      }
    },
    resize,
    close() {
      close(slave);
      if (stream === null) close(master);
      else stream.destroy();
    },
  };
}
