// [thread of the keeper] `-o type=local|tar`: merged trees written out.

import { mkdirSync, mkdtempSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { copyTree, writeTreeTar } from "../../cache/layers/export-tree.ts";
import { AT, close, procPath } from "../sys/file.ts";
import { MOVE_MOUNT, moveMount, overlayMount, UMOUNT, umount2 } from "../sys/mount.ts";
import { stackOf } from "./stack.ts";
import type { ExportJob } from "../keeper/messages.ts";

/** Writes the trees to job.dest: a tar file, or an existing directory. Throws SysError. */
export function runExportJob(job: ExportJob): null {
  const options = { epochSeconds: job.epochSeconds };
  const write = job.form === "tar" ? writeTreeTar : copyTree;
  const only = job.trees.length === 1 && job.trees[0]?.folder === null ? job.trees[0] : null;
  if (only !== null && only.dirs.length > 0) {
    withTree(only.dirs, (fd) => {
      if (fd !== null) write(procPath(fd).toString(), job.dest, options);
    });
    return null;
  }
  // Several trees: each is mounted at its folder of a directory that only this mount namespace sees filled.
  const root = mkdtempSync(join(dirname(job.dest), ".tsbuild-export-"));
  const places: string[] = [];
  const folders: string[] = [];
  try {
    for (const { dirs, folder } of job.trees) {
      const place = folder === null ? root : join(root, folder);
      if (folder !== null) {
        mkdirSync(place);
        folders.push(place);
      }
      withTree(dirs, (fd) => {
        if (fd === null) return;
        moveMount(fd, "", AT.FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH);
        places.push(place);
      });
    }
    write(root, job.dest, options);
  } finally {
    for (const place of places) umount2(place, UMOUNT.DETACH);
    for (const folder of folders) rmdirSync(folder);
    rmdirSync(root);
  }
  return null;
}

/** The stacked layers as a descriptor of a detached mount; null: no layers, an empty tree. */
function withTree(dirs: readonly string[], work: (fd: number | null) => void): void {
  if (dirs.length === 0) {
    work(null);
    return;
  }
  const fd = overlayMount({ lowers: stackOf(dirs), userxattr: true });
  try {
    work(fd);
  } finally {
    close(fd);
  }
}
