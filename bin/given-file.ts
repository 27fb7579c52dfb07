// Reads files given by the user, up to a limit. They may be pipes, as with <(command) in a shell.

import { closeSync, fstatSync } from "node:fs";
import { openGiven, readAll } from "../cache/outside.ts";
import { BuildError } from "../solver/graph/error.ts";

/** Bytes of a file, or of a pipe or terminal until its end. Throws the system's error; FILE_INVALID for a directory;
 *  LIMIT_EXCEEDED; signal.reason when it is aborted while nobody writes. */
export async function readGiven(path: string, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const fd = openGiven(path);
  const stat = fstatSync(fd);
  const isTerminal = stat.isCharacterDevice() && process.getBuiltinModule("node:tty").isatty(fd);
  if (stat.isFIFO() || isTerminal) return await readStream(fd, stat.isFIFO(), path, maxBytes, signal);
  try {
    if (stat.isDirectory()) throw new BuildError("FILE_INVALID", `${JSON.stringify(path)} is a directory`);
    return readAll(fd, maxBytes, path); // a device too: /dev/null
  } finally {
    closeSync(fd);
  }
}

/** Read as events: waiting in read(2) for a writer hears of no signal. */
async function readStream(
  fd: number,
  isPipe: boolean,
  path: string,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const stream = isPipe
    ? new (await import("node:net")).Socket({ fd, readable: true, writable: false, signal })
    : new (await import("node:tty")).ReadStream(fd, { signal });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    signal.throwIfAborted();
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > maxBytes)
        throw new BuildError("LIMIT_EXCEEDED", `${JSON.stringify(path)} is longer than ${maxBytes} bytes`);
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    stream.destroy();
  }
  return Buffer.concat(chunks);
}
