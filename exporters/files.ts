// type=local and type=tar: the root file system as files. Only the keeper can read all files of layers, so it writes them.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import type { BuiltImage, LayerId } from "../solver/graph/request.ts";
import type { OutputContext, ExportDeps } from "./exporter.ts";
import { makeOutputDirectory, sendToClient, writeFileWhole } from "./file-output.ts";
import { epochOf, type FilesOutput } from "./output-grammar.ts";
import { during, type Report } from "./shown.ts";

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
  /** What the user calls it, in messages; null: `dest` is a temporary file. */
  readonly output: string | null;
  /** Times are at most this, in seconds; null: as they are. */
  readonly epochSeconds: number | null;
}
/** Writes trees; returns the bytes of the tar or of all files. They belong to the caller's user where it may not give them their owner. */
export type FilesKeeper = (job: FilesJob, options: { readonly signal: AbortSignal }) => Promise<number>;

const COPY_BYTES = 1 << 20;

/** Writes the files of all images to a directory or a tar file, or sends them to the client. Throws OUTPUT_*. */
export async function exportFiles(
  images: readonly BuiltImage[],
  output: FilesOutput,
  deps: ExportDeps,
  context: OutputContext,
): Promise<void> {
  const { signal } = context;
  const isSplit = output.platformSplit ?? (context.multiPlatform || images.length > 1);
  const trees = images.map(({ layers, platform }) => ({
    layers,
    folder: isSplit ? folderOf(platform) : null,
  }));
  const epochSeconds = epochOf(output.epochSeconds, context.epochSeconds);
  const shown = output.dest.kind === "path" ? output.dest.path : null;
  const write = async (dest: string, report: Report): Promise<void> => {
    report(await deps.files({ trees, form: output.form, dest, output: shown, epochSeconds }, { signal }));
  };
  if (output.dest.kind === "path") {
    const { path } = output.dest;
    if (output.form === "tar") {
      await writeFileWhole(path, signal, async (draft) => {
        await during(context, "sending tarball", (report) => write(draft, report));
        await syncFile(draft);
      });
      return;
    }
    makeOutputDirectory(path);
    await during(context, "copying files", (report) => write(path, report));
    return;
  }
  const { name } = output.dest;
  const directory = mkdtempSync(join(deps.store.tempDir(), "export-"));
  try {
    if (output.form === "directory") {
      await during(context, "copying files", async (report) => {
        await write(directory, report);
        await sendToClient(deps.client, signal, (client) => client.directory(name, directory, { signal }));
      });
      return;
    }
    const file = join(directory, "files.tar");
    await during(context, "sending tarball", async (report) => {
      await write(file, report);
      await sendToClient(deps.client, signal, (client) => client.file(name, readChunks(file), { signal }));
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

// BuildKit: "/" of the platform becomes "_".
function folderOf(platform: Platform): string {
  return formatPlatform(platform).replaceAll("/", "_");
}

async function syncFile(path: string): Promise<void> {
  const { open } = await import("node:fs/promises"); // which takes 1.3 ms to load
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function* readChunks(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const { open } = await import("node:fs/promises"); // which takes 1.3 ms to load
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
