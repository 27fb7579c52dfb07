// The Dockerfile and the ignore files of a directory. A context may be untrusted: a link in it can lead to other files
// of the context, never outside. Paths outside the context that the user gives are trusted, even if they are links.

import { closeSync, realpathSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { openDirectory, openInRoot, readAll, readFileOf, readIn } from "../../cache/outside.ts";
import { BuildError } from "../../solver/graph/error.ts";

/** The frontend refuses longer Dockerfiles; nothing longer is read. */
export const DOCKERFILE_MAX_BYTES: number = 16 << 20;

/** Bytes of a regular file; null: it does not exist. `path` is absolute, possibly below `context`. Throws DOCKERFILE_MISSING if it is
 *  not a file or a link out of the context, LIMIT_EXCEEDED. */
export async function readUserFile(path: string, context: string): Promise<Uint8Array | null> {
  const below = pathBelow(context, path);
  return below === null
    ? inWords(path, async () => readFileOf(path, DOCKERFILE_MAX_BYTES))
    : readContextFile(context, below);
}

/** The same for `path` relative to the context's directory: ".." cannot leave it. */
export async function readContextFile(context: string, path: string): Promise<Uint8Array | null> {
  const name = join("/", path).slice(1);
  return inWords(join(context, name), async () => {
    const root = openDirectory(context);
    try {
      return readIn(root, name, DOCKERFILE_MAX_BYTES);
    } catch (error) {
      if (!["ELOOP", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      return await readByLinks(root, name);
    } finally {
      closeSync(root);
    }
  });
}

/** Links are resolved with the context as root, as in BuildKit. */
async function readByLinks(root: number, name: string): Promise<Buffer | null> {
  const fd = await openInRoot(root, name);
  if (fd === null) return null;
  if (fd === "nowhere") {
    throw new BuildError("DOCKERFILE_MISSING", `failed to read ${name}: no such file in the build context`, {
      hint: "it is a symbolic link that is broken or points outside the build context; files outside are not read",
    });
  }
  try {
    return readAll(fd, DOCKERFILE_MAX_BYTES, name);
  } finally {
    closeSync(fd);
  }
}

/** The path relative to the context if it is inside, even if one of the two contains a link. */
function pathBelow(context: string, path: string): string | null {
  const direct = relative(context, path);
  if (isBelow(direct)) return direct;
  try {
    const real = relative(realpathSync(context), join(realpathSync(dirname(path)), basename(path)));
    return isBelow(real) ? real : null;
  } catch {
    return null; // not there: reading it says so
  }
}

function isBelow(path: string): boolean {
  return path !== ".." && !path.startsWith("../");
}

/** Converts failures of reading `path` to user errors; null: there is no such file. */
async function inWords(path: string, read: () => Promise<Buffer | null>): Promise<Buffer | null> {
  try {
    return await read();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    if (code === "FILE_INVALID") {
      throw new BuildError("DOCKERFILE_MISSING", `failed to read ${path}: not a file`, { cause });
    }
    if (code === "LIMIT_EXCEEDED") {
      const limit = `${DOCKERFILE_MAX_BYTES >> 20} MiB`;
      throw new BuildError("LIMIT_EXCEEDED", `${path} is larger than ${limit}`, { cause });
    }
    if (cause instanceof BuildError || code === undefined) throw cause;
    throw new BuildError("DOCKERFILE_MISSING", `failed to read ${path}: ${code}`, { cause });
  }
}
