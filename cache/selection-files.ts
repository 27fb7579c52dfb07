// The files of a selection: path, mode and content of each, stored under the selection's digest, so that --explain
// can name the file that changed when a step runs again.
//
// Lists are only compared, so they contain 48 bits of each digest. Deflated: 12 bytes per file of a source tree.
// Lists belong to the traces of builds (solver/traces.ts) and are removed with them.
//
// Format 1, deflated: "1\n", then for each entry "<type letter><octal mode>\0<content>\0<path>\0". content: of a file
// 12 hex digits of its sha256, of a link its target. An irrelevant mode is omitted.

import { deflateRawSync, inflateRawSync } from "node:zlib";
import { type Digest, hexOf } from "../solver/graph/digest.ts";
import type { Records } from "./contract.ts";

/** Space of the records that has the lists. */
export const SELECTION_FILES_SPACE = "selection-files";

/** A file as it counts in a selection. */
export interface SelectedFile {
  /** In the tree; byte string. */
  readonly path: string;
  /** Initial of the type ("f", "d", "s"…). */
  readonly type: string;
  /** Octal; "" where it does not count. */
  readonly mode: string;
  /** Differs where the content does; of a link its target. */
  readonly content: string;
}

export interface FileChange {
  /** Text. */
  readonly path: string;
  readonly how: "added" | "removed" | "type" | "content" | "link" | "mode";
  /** Modes, link targets or types; null where there is nothing to print. */
  readonly before: string | null;
  readonly after: string | null;
}

/** More entries are not kept: 200,000 files deflate in 100 ms to 2 MB. */
const ENTRIES_MAX = 200_000;
/** Nor longer lists, whatever the paths. */
const INFLATED_MAX_BYTES = 2 ** 28;
const HEAD = "1\n";

/** The 48 bits of a digest that a list has. */
export function shortContent(digest: Digest): string {
  return hexOf(digest).slice(0, 12);
}

/** Keeps the list of a selection, unless it is there. `files` is called only when it is needed. */
export function keepSelection(records: Records, digest: Digest, files: () => readonly SelectedFile[]): void {
  if (records.get<Uint8Array>(SELECTION_FILES_SPACE, digest) !== null) return;
  const list = files();
  if (list.length > ENTRIES_MAX) return;
  let text = HEAD;
  for (const { type, mode, content, path } of list) {
    text += `${type}${mode}\0${content}\0${path}\0`;
    if (text.length > INFLATED_MAX_BYTES) return;
  }
  // Level 1: twice as fast as the default, 10 % larger.
  records.put(SELECTION_FILES_SPACE, digest, deflateRawSync(Buffer.from(text, "latin1"), { level: 1 }));
}

/** The list of a selection, by path; null when none is kept. */
export function readSelection(records: Records, digest: Digest): ReadonlyMap<string, SelectedFile> | null {
  const value = records.get<Uint8Array>(SELECTION_FILES_SPACE, digest);
  if (!(value instanceof Uint8Array)) return null;
  let text: string;
  try {
    text = inflateRawSync(value, { maxOutputLength: INFLATED_MAX_BYTES }).toString("latin1");
  } catch {
    return null; // damaged: it only explained something
  }
  if (!text.startsWith(HEAD)) return null;
  const fields = text.slice(HEAD.length).split("\0");
  const files = new Map<string, SelectedFile>();
  for (let at = 0; at + 2 < fields.length; at += 3) {
    const [look = "", content = "", path = ""] = [fields[at], fields[at + 1], fields[at + 2]];
    files.set(path, { path, content, type: look.slice(0, 1), mode: look.slice(1) });
  }
  return files;
}

/** What differs, sorted by path. Of a directory that came or went only itself is named, not what is in it. */
export function compareSelections(
  before: ReadonlyMap<string, SelectedFile>,
  after: ReadonlyMap<string, SelectedFile>,
): readonly FileChange[] {
  const changes: FileChange[] = [];
  for (const [path, now] of after) {
    const old = before.get(path);
    if (old === undefined) {
      if (!before.has(parentOf(path)) && after.has(parentOf(path)) && parentOf(path) !== path) continue;
      changes.push({ path: text(path), how: "added", before: null, after: null });
    } else if (old.type !== now.type)
      changes.push({ path: text(path), how: "type", before: typeName(old.type), after: typeName(now.type) });
    else {
      if (old.content !== now.content) {
        changes.push(
          now.type === "s"
            ? { path: text(path), how: "link", before: text(old.content), after: text(now.content) }
            : { path: text(path), how: "content", before: null, after: null },
        );
      }
      if (old.mode !== now.mode)
        changes.push({ path: text(path), how: "mode", before: old.mode, after: now.mode });
    }
  }
  for (const path of before.keys()) {
    if (after.has(path)) continue;
    if (!after.has(parentOf(path)) && before.has(parentOf(path)) && parentOf(path) !== path) continue;
    changes.push({ path: text(path), how: "removed", before: null, after: null });
  }
  return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

function text(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8") || "/";
}

function typeName(letter: string): string {
  const names: Readonly<Record<string, string>> = { f: "file", d: "directory", s: "link", p: "fifo" };
  return names[letter] ?? "device";
}
