// [keeper] Flushes the file system of a directory.

import { AT, O } from "../sys/constants.ts";
import { close, openat, syncfs } from "../sys/file.ts";

/** syncfs(2); returns when it is done. Throws SysError. */
export function syncDirectory(dir: string): null {
  const directory = openat(AT.FDCWD, dir, O.RDONLY | O.DIRECTORY);
  try {
    syncfs(directory);
  } finally {
    close(directory);
  }
  return null;
}
