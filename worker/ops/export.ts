// [thread of the keeper] `-o type=local|tar`: writes merged trees.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { copyTree, refuseSameFiles, writeTreeTar } from "../../cache/layers/export-tree.ts";
import { writeFileDigests } from "../../cache/layers/file-digests.ts";
import { close, procPath } from "../sys/file.ts";
import { moveMount, overlayMount, umount2 } from "../sys/mount.ts";
import { stackOf } from "./stack.ts";
import type { DigestsJob, ExportJob } from "../keeper/messages.ts";
import { AT, MOVE_MOUNT, UMOUNT } from "../sys/constants.ts";

/** Writes the trees to job.dest: a tar file, or an existing directory. Returns the bytes of the tar, or of all files. Throws SysError. */
export function runExportJob(job: ExportJob): number {
  const options = { epochSeconds: job.epochSeconds };
  const write = job.form === "tar" ? writeTreeTar : copyTree;
  const only = job.trees.length === 1 && job.trees[0]?.folder === null ? job.trees[0] : null;
  if (only !== null && only.dirs.length > 0) {
    return withTree(only.dirs, (fd) => (fd === null ? 0 : write(procPath(fd).toString(), job.dest, options)));
  }
  // Several trees: each is mounted at its folder of a directory that only this mount namespace sees filled.
  const root = job.scratch;
  const places: string[] = [];
  try {
    job.trees.forEach(({ dirs, folder }, index) => {
      const place = join(root, folder ?? String(index));
      mkdirSync(place);
      withTree(dirs, (fd) => {
        if (fd === null) return;
        moveMount(fd, "", AT.FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH);
        places.push(place);
      });
    });
    if (job.trees.every(({ folder }) => folder !== null)) return write(root, job.dest, options);
    refuseSameFiles(job.trees.map(({ name }, index) => ({ name, place: join(root, String(index)) })));
    // No whiteouts are seen in an overlay: each tree is whole. A tree without layers is an empty directory.
    const fd = overlayMount({
      lowers: job.trees.map((_, index) => join(root, String(index))),
      userxattr: true,
    });
    try {
      return write(procPath(fd).toString(), job.dest, options);
    } finally {
      close(fd);
    }
  } finally {
    for (const place of places) umount2(place, UMOUNT.DETACH);
  }
}

/** Digests of the files of a tree. Returns their number. Throws as writeFileDigests. */
export function runDigestsJob({ dirs, out }: DigestsJob): number {
  return withTree(dirs, (fd) => (fd === null ? 0 : writeFileDigests(procPath(fd).toString(), out)));
}

/** The stacked layers as a descriptor of a detached mount; null: no layers, an empty tree. */
function withTree<T>(dirs: readonly string[], work: (fd: number | null) => T): T {
  if (dirs.length === 0) return work(null);
  const fd = overlayMount({ lowers: stackOf(dirs), userxattr: true });
  try {
    return work(fd);
  } finally {
    close(fd);
  }
}
