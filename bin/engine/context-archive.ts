// A build context in a tar: unpacked into a private directory, by the code that unpacks archives for ADD.

import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { archiveFault, extractArchive } from "../../cache/layers/archive.ts";
import { openDirectory, openDirectoryIn } from "../../cache/outside.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { cleanPath } from "../../solver/graph/patterns.ts";

/** Unpacks the tar (plain or compressed) at `file` into the empty directory `dest` of the store. Throws ARCHIVE_INVALID, also for
 *  what a member asks for and the kernel refuses (a broken capability), LIMIT_EXCEEDED, STORE_FULL. */
export async function extractContext(file: string, dest: string): Promise<void> {
  const directory = openSync(dest, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await extractArchive(file, directory, { owners: false }); // COPY gives its own
  } catch (error) {
    throw archiveFault(error, "unpacking the build context", dest);
  } finally {
    closeSync(directory);
  }
}

/** A directory of an unpacked context: links are no way to it, for the archive may lead anywhere. Throws CONTEXT_MISSING. */
export function directoryOf(root: string, subdirectory: string): string {
  const path = cleanPath(`/${subdirectory}`).slice(1);
  if (path === "") return root;
  const fd = openDirectory(root);
  try {
    closeSync(openDirectoryIn(fd, path));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP") throw cause;
    throw new BuildError("CONTEXT_MISSING", `there is no directory ${printable(path)} in the build context`, {
      cause,
    });
  } finally {
    closeSync(fd);
  }
  return join(root, path);
}
