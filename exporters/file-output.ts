// Output files: they appear under their name only when complete.

import { closeSync, constants, fstatSync, openSync, readlinkSync, statSync, write } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import {
  makeDirectories,
  openDirectory,
  statIn,
  replaceIn,
  writeAll,
  writeWholeIn,
} from "../cache/outside.ts";
import { refusalOf } from "../cache/disk-fault.ts";
import { BuildError } from "../solver/graph/error.ts";
import { unlessAborted } from "../solver/graph/scope.ts";
import type { ClientOutputs } from "../solver/graph/session.ts";
import type { Destination } from "./output-grammar.ts";

export interface WriteOptions {
  readonly signal: AbortSignal;
  /** As in ExportDeps. */
  readonly client: ClientOutputs | null;
  /** Told to a client. */
  readonly about?: Readonly<Record<string, string>>;
}

/**
 * Writes a stream to a file (a temporary file next to it, fsync, rename; the umask decides its mode), straight to a device or
 * pipe, or to the client.
 */
export async function writeOutput(
  dest: Destination,
  data: AsyncIterable<Uint8Array>,
  options: WriteOptions,
): Promise<void> {
  if (dest.kind === "client") {
    const { client, signal, about = {} } = options;
    return await sendToClient(client, signal, (to) => to.file(dest.name, data, { signal, about }));
  }
  const { path } = dest;
  if (isSpecialFile(path)) return await writeSpecialFile(path, data, options.signal);
  await atTarget(path, options.signal, ({ directory, name }) =>
    writeWholeIn(directory, name, (fd) => writeTo(fd, data, options.signal)),
  );
}

/**
 * Lets `make` fill a new file next to `path`, then gives it that name. Links are followed. Throws OUTPUT_FAILED; OUTPUT_INVALID
 * for a directory and what else is no regular file.
 */
export async function writeFileWhole(
  path: string,
  signal: AbortSignal,
  make: (draft: string) => Promise<void>,
): Promise<void> {
  await atTarget(path, signal, ({ directory, directoryPath, name }) =>
    replaceIn(directory, name, async (draft) => {
      await make(join(directoryPath, draft));
      signal.throwIfAborted();
    }),
  );
}

/** Writes a small file of results. As in buildx a link that has the name is replaced, not followed; but what leads to a device or
 *  pipe, or lies in /dev or /proc (/dev/stdout), is written to. Throws OUTPUT_FAILED. */
export async function writeResultFile(path: string, text: string, signal: AbortSignal): Promise<void> {
  try {
    if (isSpecialFile(path)) return await writeSpecialFile(path, once(Buffer.from(text)), signal);
    if (/^\/(?:dev|proc)\//.test(path)) {
      const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC | constants.O_NOCTTY);
      try {
        writeAll(fd, Buffer.from(text));
      } finally {
        closeSync(fd);
      }
      return;
    }
    const directory = openDirectory(dirname(path));
    try {
      if (statIn(directory, basename(path))?.isDirectory() === true)
        throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: it is a directory`);
      await writeWholeIn(directory, basename(path), (fd) => writeAll(fd, Buffer.from(text)));
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    throw outputError(error, path, signal);
  }
}

/** Writes files, none of which may be there: that is said before `texts`, which may ask the user something, is called. The umask cuts their modes.
 *  `hint`: what to do instead. Throws OUTPUT_FAILED. */
export async function writeNewFiles(
  files: readonly { readonly path: string; readonly mode: number }[],
  texts: () => Promise<readonly string[]>,
  { signal, hint }: { readonly signal: AbortSignal; readonly hint: string },
): Promise<void> {
  const at = async (
    path: string,
    work: (directory: number, name: string) => Promise<void>,
  ): Promise<void> => {
    try {
      const directory = openDirectory(dirname(path));
      try {
        await work(directory, basename(path));
      } finally {
        closeSync(directory);
      }
    } catch (error) {
      throw outputError(error, path, signal);
    }
  };
  const checkAll = async (): Promise<void> => {
    for (const { path } of files)
      await at(path, async (directory, name) => {
        if (statIn(directory, name) === null) return;
        throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: it exists`, { hint });
      });
  };
  await checkAll();
  const made = await texts();
  await checkAll();
  for (const [index, { path, mode }] of files.entries())
    await at(path, (directory, name) =>
      writeWholeIn(directory, name, (fd) => writeAll(fd, Buffer.from(made[index] ?? "")), mode),
    );
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** Where a file is to be written. */
export interface Target {
  readonly directory: number;
  readonly directoryPath: string;
  readonly name: string;
}

async function atTarget(
  path: string,
  signal: AbortSignal,
  work: (target: Target) => Promise<void>,
): Promise<void> {
  try {
    makeDirectories(dirname(path));
    const target = openTarget(path);
    try {
      await work(target);
    } finally {
      closeSync(target.directory);
    }
  } catch (error) {
    throw outputError(error, path, signal);
  }
}

/** Links of the user's path are followed, and by the kernel, which refuses those that other users have planted in a directory open
 *  to all: proc(5), fs.protected_symlinks. A link that leads nowhere is replaced. */
export function openTarget(path: string): Target {
  let fd: number | null = null;
  try {
    fd = openSync(path, O_PATH);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  if (fd === null) return targetAt(path);
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) {
      throw new BuildError("OUTPUT_INVALID", `destination file ${path} is a directory`, {
        hint: "use a file name, or tar=false",
      });
    }
    if (!stat.isFile()) {
      throw new BuildError("OUTPUT_INVALID", `the output file ${path} is not a regular file`, {
        hint: "dest=- writes to standard output",
      });
    }
    const target = targetAt(readlinkSync(`/proc/self/fd/${fd}`));
    const there = statIn(target.directory, target.name);
    if (there?.ino === stat.ino && there.dev === stat.dev) return target;
    closeSync(target.directory);
    throw new BuildError("OUTPUT_FAILED", `cannot write ${path}: it was moved while it was being opened`);
  } finally {
    closeSync(fd);
  }
}
const O_PATH = 0o10000000; // open(2); Node has no name for it, and x64 and arm64 have the same number

function targetAt(path: string): Target {
  const directoryPath = dirname(path);
  return { directory: openDirectory(directoryPath), directoryPath, name: basename(path) };
}

/** Makes an output directory (with parents, the umask decides the mode). Throws OUTPUT_INVALID when a file has the name. */
export function makeOutputDirectory(path: string): void {
  try {
    makeDirectories(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "EEXIST" || code === "ENOTDIR") {
      throw new BuildError("OUTPUT_INVALID", `destination directory ${path} is a file`, { cause });
    }
    throw outputError(cause, path, null);
  }
}

/** A device or pipe: /dev/null, /dev/stdout, a FIFO. */
export function isSpecialFile(path: string): boolean {
  let stats: ReturnType<typeof statSync>;
  try {
    stats = statSync(path);
  } catch {
    return false; // what is wrong with it is said when it is written
  }
  return !stats.isFile() && !stats.isDirectory();
}

/** Opening a FIFO waits for its reader, fifo(7), and writing for what it reads: in the kernel neither hears of a signal. */
async function writeSpecialFile(
  path: string,
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    if (!statSync(path).isFIFO()) {
      const device = openSync(path, O_WRONLY | O_NOCTTY);
      try {
        return await writeTo(device, data, signal);
      } finally {
        closeSync(device);
      }
    }
    let fd: number | null = null;
    while (fd === null) {
      try {
        fd = openSync(path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENXIO") throw error; // nobody reads yet
        await delay(READER_POLL_MS, undefined, { signal });
      }
    }
    const { Socket } = await import("node:net");
    const pipe = new Socket({ fd, readable: false, writable: true });
    try {
      await writeToStream(pipe, data, signal);
    } finally {
      pipe.destroy();
    }
  } catch (error) {
    throw outputError(error, path, signal);
  }
}
const READER_POLL_MS = 50;

const writeLater = promisify(write);

/** Writes a stream to an open file. */
export async function writeTo(
  fd: number,
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  for await (const chunk of data) {
    signal.throwIfAborted();
    for (let at = 0; at < chunk.length; ) at += (await writeLater(fd, chunk, at)).bytesWritten;
  }
}

/** Writes to a stream that stays open, with its back-pressure. A reader that goes away is OUTPUT_FAILED. */
export async function writeToStream(
  stream: Writable,
  data: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  let failure: Error | null = null;
  let wake: (() => void) | null = null;
  const onError = (error: Error) => {
    failure = error;
    wake?.();
  };
  const onDrain = () => wake?.();
  stream.on("error", onError).on("drain", onDrain).on("close", onDrain);
  signal.addEventListener("abort", onDrain);
  try {
    for await (const chunk of data) {
      signal.throwIfAborted();
      if (failure !== null) break;
      if (!stream.write(chunk)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (stream.destroyed || failure !== null || !stream.writableNeedDrain) resolve();
        });
        wake = null;
        signal.throwIfAborted();
      }
    }
    if (failure === null) await new Promise<void>((resolve) => stream.write("", () => resolve()));
  } finally {
    stream.off("error", onError).off("drain", onDrain).off("close", onDrain);
    signal.removeEventListener("abort", onDrain);
  }
  if (failure !== null) {
    const fd = (stream as { readonly fd?: unknown }).fd;
    const refusal = refusalOf(failure, "output", typeof fd === "number" ? `/proc/self/fd/${fd}` : "");
    const why = refusal?.words ?? "the reader closed the pipe";
    throw new BuildError("OUTPUT_FAILED", `cannot write the output: ${why}`, {
      cause: failure,
      hint: refusal?.hint ?? null,
    });
  }
}

/** Sends an output to the client. Throws OUTPUT_INVALID for one that accepts none (a terminal), OUTPUT_FAILED. */
export async function sendToClient(
  client: ClientOutputs | null,
  signal: AbortSignal,
  send: (client: ClientOutputs) => Promise<void>,
): Promise<void> {
  if (client === null)
    throw new BuildError("OUTPUT_INVALID", "refusing to write an image or tar to a terminal", {
      hint: "name a file with dest=FILE, or redirect standard output",
    });
  try {
    await unlessAborted(send(client), signal); // whether the client listens to the signal or not
  } catch (cause) {
    if (signal.aborted || cause instanceof BuildError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new BuildError("OUTPUT_FAILED", `the client did not accept the output: ${why}`, { cause });
  }
}

/** A system's error in the words of who asked for the output. */
export function outputError(error: unknown, path: string, signal: AbortSignal | null): unknown {
  if (error instanceof BuildError || signal?.aborted || !(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const refusal = refusalOf(error, "output", path);
  if (refusal !== null) {
    const { words, hint } = refusal;
    return new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${words}`, { cause: error, hint });
  }
  const words: Readonly<Record<string, string>> = {
    EACCES: "permission denied",
    ENOENT: "no such file or directory",
    ENOTDIR: "a parent is not a directory",
    EISDIR: "a directory exists with that name",
    ELOOP: "a symbolic link loop, or a symbolic link where none is allowed",
  };
  return new BuildError("OUTPUT_FAILED", `cannot write ${path}: ${words[code] ?? error.message}`, {
    cause: error,
  });
}
