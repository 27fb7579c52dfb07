// type=local and type=tar: the root file system as files. Only the keeper can read all files of layers, so it writes them.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { formatPlatformAll, type Platform } from "../solver/graph/op.ts";
import type { BuiltImage } from "../solver/graph/request.ts";
import { makeOutputDirectory, sendToClient, writeFileWhole } from "./file-output.ts";
import { epochOf, type FilesOutput } from "./output-grammar.ts";
import { during, type Report } from "./shown.ts";
import type { ExportDeps, FilesTree, OutputContext } from "./contract.ts";

const COPY_BYTES = 1 << 20;

/** Writes the files of all images to a directory or a tar file, or sends them to the client. Throws OUTPUT_*. */
export async function exportFiles(
  images: readonly BuiltImage[],
  output: FilesOutput,
  deps: ExportDeps,
  context: OutputContext,
): Promise<void> {
  const { signal } = context;
  const isMap = context.multiPlatform || images.length > 1;
  const isSplit = output.platformSplit ?? isMap;
  const epochSeconds = epochOf(output.epochSeconds, context.epochSeconds);
  const trees = await Promise.all(
    images.map(async ({ layers, platform }, index): Promise<FilesTree> => {
      const own = (context.attestations?.[index] ?? []).filter(({ inlineOnly }) => !inlineOnly);
      const suffix = isMap && !isSplit ? `.${folderOf(platform)}` : "";
      return {
        layers,
        folder: isSplit ? folderOf(platform) : null,
        name: formatPlatformAll(platform),
        more:
          own.length === 0
            ? []
            : await (await import("./attestation/files.ts")).statementFiles(
                own,
                await during(context, "hashing files", () => deps.digests(layers, { signal })),
                { prefix: output.attestationPrefix, suffix, epochSeconds },
              ),
      };
    }),
  );
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
  return formatPlatformAll(platform).replaceAll("/", "_");
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
