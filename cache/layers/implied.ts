// Directories of an unpacked layer that were only implied by paths below them: a tar may contain usr/bin/x without usr/. The
// image shows such a directory as in the layers below (containerd archive/tar.go, mkparent), but layers are unpacked
// without those. So their names are stored next to the directory, and corrected when layers are mounted (worker/ops/stack.ts).

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Notes the directories (byte strings) that `dir`, a layer's directory in a place of its own, has by implication. */
export function noteImplied(dir: string, paths: readonly string[]): void {
  if (paths.length > 0) writeFileSync(noteOf(dir), Buffer.from(paths.join("\0"), "latin1"), { mode: 0o600 });
}

/** What was noted; empty for nearly all layers. */
export function readImplied(dir: string): readonly string[] {
  const note = noteOf(dir);
  // Asked for each layer below each step: an exception would cost ten times as much as the question.
  return existsSync(note) ? readFileSync(note, "latin1").split("\0") : [];
}

function noteOf(dir: string): string {
  return join(dirname(dir), "implied");
}
