// The log of one step that is not displayed: a terminal shows only the last lines of running steps, so the complete log of a failed
// step has to be shown afterwards. The newest text is kept in memory; a longer log is also written to a
// file, from its first line, which is kept only if the step fails.

import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Characters kept in memory and shown; BuildKit cuts the log of a step off after as many bytes. */
export const SHOWN_MAX: number = 2 << 20;
/** Bytes of the file: the temporary directory may be memory. */
const FILE_MAX = 64 << 20;
/** Characters that are written at once. */
const WRITTEN_AT_ONCE = 256 << 10;

/** What of a log is not in memory any more. */
export interface Unseen {
  readonly lines: number;
  /** Where it is: the log from its beginning; null: it could not be written. */
  readonly file: string | null;
  /** The file ends before the log does. */
  readonly isCut: boolean;
}

export interface StepLog {
  add(line: string): void;
  /** The newest lines, oldest first. */
  lines(): readonly string[];
  /** Finishes the file; it is the user's from now on. null: lines() are all. */
  keep(): Unseen | null;
  /** Forgets the lines and removes the file. Nothing after keep(). */
  discard(): void;
}

/** An empty log. shownMax, fileMax: for tests. */
export function openStepLog({
  shownMax = SHOWN_MAX,
  fileMax = FILE_MAX,
}: {
  readonly shownMax?: number;
  readonly fileMax?: number;
} = {}): StepLog {
  let kept: string[] = [];
  let first = 0; // lines before it are out of memory
  let length = 0;
  let dropped = 0;
  /** null: none is needed yet; "lost": it could not be written. */
  let file: { readonly dir: string; readonly path: string; readonly fd: number } | "lost" | null = null;
  let waiting = "";
  let room = fileMax;
  let isCut = false;
  let isOver = false;

  function write(text: string): void {
    if (file === "lost" || isCut) return;
    try {
      if (file === null) {
        const dir = mkdtempSync(join(tmpdir(), "tsbuild-log-"));
        file = { dir, path: join(dir, "step.log"), fd: openSync(join(dir, "step.log"), "wx", 0o600) };
      }
      let bytes = Buffer.from(text);
      if (bytes.length > room) {
        isCut = true;
        bytes = bytes.subarray(0, room);
      }
      room -= bytes.length;
      for (let at = 0; at < bytes.length; ) at += writeSync(file.fd, bytes, at);
    } catch {
      // A full disk must not fail a step: its log is then what is in memory, which keep() says.
      remove();
      file = "lost";
    }
  }

  function remove(): void {
    if (file === null || file === "lost") return;
    const { dir, fd } = file;
    file = null;
    closeSync(fd);
    try {
      rmSync(dir, { recursive: true, force: true });
    } catch {
      // somebody else's doing: it is a temporary directory
    }
  }

  return {
    add(line) {
      if (isOver) return;
      kept.push(line);
      length += line.length + 1;
      if (length > shownMax && file === null) for (const old of kept.slice(0, -1)) waiting += `${old}\n`;
      while (length > shownMax && first < kept.length - 1) {
        length -= (kept[first] as string).length + 1;
        first += 1;
        dropped += 1;
      }
      if (dropped === 0) return;
      waiting += `${line}\n`;
      if (file === null || waiting.length > WRITTEN_AT_ONCE) {
        write(waiting);
        waiting = "";
      }
      if (first > kept.length / 2) {
        kept = kept.slice(first);
        first = 0;
      }
    },
    lines: () => kept.slice(first),
    keep() {
      if (dropped === 0) return null;
      if (!isOver) {
        isOver = true;
        write(waiting);
        waiting = "";
        if (file !== null && file !== "lost") closeSync(file.fd);
      }
      return { lines: dropped, file: file === null || file === "lost" ? null : file.path, isCut };
    },
    discard() {
      if (isOver) return;
      isOver = true;
      remove();
      kept = [];
      first = 0;
      waiting = "";
    },
  };
}
