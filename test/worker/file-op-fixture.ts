// Layers, contexts and file jobs for the tests of file operations: real directories, real overlay mounts.

import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { CopyAction, FileAction } from "../../solver/graph/op.ts";
import type { FileOutcome, Tree } from "../../worker/keeper/messages.ts";
import { runFileJob } from "../../worker/ops/file.ts";
import { close } from "../../worker/sys/file.ts";
import { overlayMount } from "../../worker/sys/mount.ts";

/** name → text of a file, null a directory, ["link", target] a symbolic link. */
export type Files = Readonly<Record<string, string | null | readonly ["link", string]>>;

export function writeTree(root: string, files: Files): string {
  mkdirSync(root, { recursive: true });
  for (const [name, what] of Object.entries(files)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    if (what === null) mkdirSync(path, { recursive: true });
    else if (typeof what === "string") writeFileSync(path, what);
    else symlinkSync(what[1], path);
  }
  return root;
}

/** All paths below with text, "->target", or "/" for directories. */
export function readTree(root: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(join(root, below)).sort()) {
    const path = join(below, name);
    const stats = lstatSync(join(root, path));
    if (stats.isDirectory()) Object.assign(found, { [`${path}/`]: "" }, readTree(root, path));
    else if (stats.isSymbolicLink()) found[path] = `->${readlinkSync(join(root, path))}`;
    else if (stats.isFile()) found[path] = readFileSync(join(root, path), "utf8");
    else if (stats.isCharacterDevice()) found[path] = "whiteout";
    else found[path] = "special";
  }
  return found;
}

export interface Bench {
  readonly dir: string;
  readonly context: string;
  readonly base: string;
  readonly upper: string;
  /** A copy action from the context ("/" with all of it to "/out/" unless said otherwise). */
  run(
    actions: readonly FileAction[],
    options?: { inputs?: readonly (Tree | null)[]; base?: readonly string[] },
  ): Promise<FileOutcome>;
  /** The merged result of the last run, read through a mount of its own. */
  merged(base?: readonly string[]): Record<string, string>;
  dispose(): void;
}

/** A base layer, an upper and a context in a directory of their own. */
export function openBench(context: Files, base: Files = {}, excludes: readonly string[] = []): Bench {
  const dir = mkdtempSync(join(tmpdir(), "tsbuild-file-op-"));
  const paths = { dir, context: join(dir, "context"), base: join(dir, "base"), upper: join(dir, "upper") };
  writeTree(paths.context, context);
  writeTree(paths.base, base);
  mkdirSync(paths.upper);
  mkdirSync(join(dir, "work"));
  return {
    ...paths,
    run: (actions, options = {}) =>
      runFileJob(
        {
          kind: "file",
          base: options.base ?? [paths.base],
          upper: paths.upper,
          work: join(dir, "work"),
          inputs: options.inputs ?? [{ kind: "files", root: paths.context, excludes, includes: [] }],
          actions,
          times: { epochSeconds: null },
        },
        { singleId: false },
      ),
    merged: (lowers = [paths.base]) => {
      const mount = overlayMount({ lowers: [...lowers, paths.upper], userxattr: true });
      try {
        return readTree(`/proc/self/fd/${mount}`);
      } finally {
        close(mount);
      }
    },
    dispose: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** A copy as the Dockerfile frontend makes it. */
export function copy(
  src: string,
  dest: string,
  change: Partial<CopyAction & { from: number | null }> = {},
): FileAction & { kind: "copy" } {
  return {
    kind: "copy",
    from: 0,
    base: null,
    output: 0,
    src,
    dest,
    owner: null,
    mode: null,
    modeStr: "",
    followSymlink: true,
    dirCopyContents: true,
    attemptUnpack: false,
    createDestPath: true,
    allowWildcard: true,
    allowEmptyWildcard: true,
    timestampNs: null,
    includePatterns: [],
    excludePatterns: [],
    alwaysReplaceExistingDestPaths: false,
    requiredPaths: [],
    ...change,
  };
}
