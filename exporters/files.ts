// type=local and type=tar: the root file system as files. Layer files are the keeper's, so it is asked to write them.

import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import type { BuiltImage, LayerId } from "../solver/graph/request.ts";
import type { ExportContext, ExportDeps } from "./exporter.ts";
import { makeOutputDirectory, requireStdout, writeFileWhole, writeToStream } from "./file-output.ts";
import type { FilesOutput } from "./output-grammar.ts";

/** One tree to be written out. */
export interface FilesTree {
  readonly layers: readonly LayerId[]; // oldest first; empty: an empty tree
  /** Folder inside of the output, "linux_amd64"; null: its top. */
  readonly folder: string | null;
}
export interface FilesJob {
  readonly trees: readonly FilesTree[];
  readonly form: "tar" | "directory";
  /** tar: a file that does not exist yet. directory: one that exists; what is in it stays, unless it is overwritten. */
  readonly dest: string;
  /** Times are at most this, in seconds; null: as they are. */
  readonly epochSeconds: number | null;
}
/** Writes trees. The files belong to the caller's user where it may not give them their owner. */
export type FilesKeeper = (job: FilesJob, options: { readonly signal: AbortSignal }) => Promise<void>;

const COPY_BYTES = 1 << 20;

/** Writes the files of all images to a directory, a tar file or standard output. Throws OUTPUT_*. */
export async function exportFiles(
  images: readonly BuiltImage[],
  output: FilesOutput,
  deps: ExportDeps,
  context: ExportContext,
): Promise<void> {
  const { signal } = context;
  const isSplit = output.platformSplit ?? (context.multiPlatform || images.length > 1);
  const trees = images.map(({ layers, platform }) => ({
    layers,
    folder: isSplit ? folderOf(platform) : null,
  }));
  const epochSeconds = output.epochSeconds ?? context.epochSeconds;
  const job = (dest: string): FilesJob => ({ trees, form: output.form, dest, epochSeconds });
  if (output.dest.kind === "path") {
    const { path } = output.dest;
    if (output.form === "tar") {
      await writeFileWhole(path, signal, async (temporary) => {
        await deps.files(job(temporary), { signal });
        await syncFile(temporary);
      });
      return;
    }
    await makeOutputDirectory(path);
    await deps.files(job(path), { signal });
    return;
  }
  const stdout = requireStdout(deps.stdout);
  const directory = await mkdtemp(join(deps.store.tempDir(), "export-"));
  try {
    const file = join(directory, "files.tar");
    await deps.files(job(file), { signal });
    await writeToStream(stdout, readChunks(file), signal);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

// BuildKit: "/" of the platform becomes "_".
function folderOf(platform: Platform): string {
  return formatPlatform(platform).replaceAll("/", "_");
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function* readChunks(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, "r");
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(COPY_BYTES), 0, COPY_BYTES, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
