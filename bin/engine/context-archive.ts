// A build context in a tar: unpacked into a private directory, by the code that unpacks archives for ADD.

import { closeSync, constants, openSync } from "node:fs";
import { archiveFault, extractArchive } from "../../cache/layers/archive.ts";

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
