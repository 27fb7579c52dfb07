// Which directories of an unpacked layer were only implied by paths of others: a tar may hold usr/bin/x without usr/. The
// image shows such a directory as the layers below have it (containerd archive/tar.go, mkparent), but layers are unpacked
// without those. So their names are kept beside the directory, and who stacks layers puts things right (worker/ops/stack.ts).

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
