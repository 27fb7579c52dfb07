// [keeper] COPY and ADD: which file goes where, with the rules of BuildKit's fsutil/copy.

import { type Content, contentWithoutReading, EMPTY, foldSelection } from "../../cache/path-hash.ts";
import {
  bytesOf,
  childPath,
  cleanPath,
  joinPath,
  parentOf,
  resolvePath,
  type TreeReader,
  type TreeStat,
} from "../../cache/tree.ts";
import {
  copySelector,
  type Entry,
  findMatches,
  type Match,
  missing,
  walkMatch,
} from "../../cache/tree-select.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError } from "../../solver/graph/error.ts";
import type { CopyAction } from "../../solver/graph/op.ts";
import { close } from "../sys/file.ts";
import { typeBits } from "./fd-tree.ts";
import { type ModeChange, parseMode } from "./mode.ts";
import { type Owner, ROOT } from "./owner.ts";
import { openFileCopies } from "./copy-files.ts";
import { dressFile, type IdMode, type Look, type Place, shown } from "./place.ts";
import { copyFile, readContent } from "./transfer.ts";

export interface CopyContext {
  readonly source: TreeReader;
  /** Descriptor of the source's root; null for scratch. */
  readonly sourceRoot: number | null;
  readonly place: Place;
  readonly owner: Owner | null;
  readonly idMode: IdMode;
  /** Time of directories that have no counterpart in the source, when the action gives none; null: now. */
  readonly madeTimeNs: bigint | null;
  /** Unpacks the match into the directory (a resolved path of the place) when it is an archive; false when it is not. */
  readonly unpack: (match: Match, directory: string, made: Omit<Look, "xattrs">) => Promise<boolean>;
}

/** Runs one copy action. Returns the digest of what was read when the source is live (the form of selectDigest's parts),
 *  else null. Throws CONTEXT_PATH_MISSING, COPY_FAILED. */
export async function runCopy(action: CopyAction, context: CopyContext): Promise<Digest | null> {
  const { source, place } = context;
  const selector = copySelector(action);
  const src = bytesOf(action.src);
  for (const required of action.requiredPaths) requirePath(source, src, belowSource(src, bytesOf(required)));
  const dest = bytesOf(action.dest);
  if (!action.createDestPath) {
    const parent = parentOf(place.resolve(dest));
    if (place.tree.lstat(parent) === null) {
      throw new BuildError("COPY_FAILED", `failed to stat ${action.dest}: no such file or directory`);
    }
  }
  const matches = findMatches(source, selector);
  if (matches.length === 0 && action.allowWildcard && !action.allowEmptyWildcard) {
    throw new BuildError("CONTEXT_PATH_MISSING", `${action.src} not found`);
  }
  const fold = source.live ? foldSelection(selector) : null;
  const looks = looksOf(action, context);
  for (const match of matches) {
    fold?.match(match);
    if (action.attemptUnpack && match.stat.type === "file") {
      const directory = place.resolve(dest);
      // Nothing is made at the destination for what turns out to be no archive.
      if (await context.unpack(match, directory, { ...looks.made, mode: 0o755 })) {
        foldWhole(source, match, action, fold);
        continue;
      }
    }
    await copyEntries(match, prepareTarget(match, action, place, looks, dest), {
      action,
      context,
      looks,
      fold,
      linked: new Map(), // hard links are kept within one source
    });
  }
  return fold?.digest() ?? null;
}

/** Throws CONTEXT_PATH_MISSING unless there is such a path below the source. It is meant as include patterns are: relative to
 *  the source, without following links in it, and never the source itself. */
/** BuildKit's frontend gives whole paths of the source's root, ours what is below the path that is copied. */
function belowSource(src: string, required: string): string {
  if (!required.startsWith("/")) return required;
  const [whole, above] = [cleanPath(required), cleanPath(src)];
  return whole.startsWith(`${above}/`) ? whole.slice(above.length + 1) : whole;
}

function requirePath(source: TreeReader, src: string, required: string): void {
  const wanted = joinPath(src, required);
  let path = resolvePath(source, src, true);
  const absent = (hint: string | null): BuildError => {
    const error = missing(source, wanted, path);
    return hint === null ? error : new BuildError(error.code, error.message, { hint });
  };
  const parts = cleanPath(required).split("/");
  for (const [index, part] of parts.entries()) {
    if (part === "")
      throw absent("--parents keeps the path after /./: leave it out to copy that directory itself");
    path = childPath(path, part);
    const stat = source.lstat(path);
    if (stat === null) throw absent(null);
    if (index === parts.length - 1 || stat.type === "directory") continue;
    throw absent(
      stat.type === "symlink" ? `${shown(path)} is a symbolic link, which --parents does not follow` : null,
    );
  }
}

/** Copies what is below a directory of the source, or one file, into a directory or file of the place unchanged. For the
 *  digest see runCopy. */
export async function copySubtree(
  match: Match,
  target: string,
  context: Pick<CopyContext, "source" | "sourceRoot" | "place" | "idMode"> & {
    readonly linked?: LinkedFiles;
  },
): Promise<Digest | null> {
  const { source, linked = new Map() } = context;
  const fold = source.live ? foldSelection({ kind: "subtree", path: match.path }) : null;
  fold?.match(match);
  const looks = looksOf(AS_IT_IS, { owner: null, madeTimeNs: null });
  await copyEntries(match, target, { action: AS_IT_IS, context, looks, fold, linked });
  return fold?.digest() ?? null;
}

type Handling = Pick<
  CopyAction,
  | "mode"
  | "modeStr"
  | "timestampNs"
  | "includePatterns"
  | "excludePatterns"
  | "alwaysReplaceExistingDestPaths"
>;
const AS_IT_IS: Handling = {
  mode: null,
  modeStr: "",
  timestampNs: null,
  includePatterns: [],
  excludePatterns: [],
  alwaysReplaceExistingDestPaths: false,
};

interface Looks {
  /** Directories made on the way to the destination. */
  readonly made: Omit<Look, "xattrs">;
  /** A copy of something. */
  of(stat: TreeStat): Omit<Look, "xattrs">;
}

function looksOf(action: Handling, context: Pick<CopyContext, "owner" | "madeTimeNs">): Looks {
  const change: ModeChange | null = action.modeStr !== "" ? parseMode(action.modeStr) : null;
  const { mode } = action;
  return {
    made: {
      owner: context.owner ?? ROOT,
      // A number counts for these directories too, a symbolic mode does not; special bits never do.
      mode: change === null && mode !== null ? mode & 0o777 : 0o755,
      mtimeNs: action.timestampNs ?? context.madeTimeNs,
    },
    of: (stat) => ({
      owner: context.owner ?? stat,
      mode:
        change !== null
          ? change(stat.mode, stat.type === "directory")
          : mode !== null
            ? mode & 0o7777
            : stat.mode,
      mtimeNs: action.timestampNs ?? stat.mtimeNs,
    }),
  };
}

interface Copying {
  readonly action: Handling;
  readonly context: Pick<CopyContext, "source" | "sourceRoot" | "place" | "idMode">;
  readonly looks: Looks;
  readonly fold: ReturnType<typeof foldSelection> | null;
  readonly linked: LinkedFiles;
}

/** Copied files that have other names, too, by the inode of their source. */
export type LinkedFiles = Map<string, { readonly path: string; readonly content: Content }>;

/** Copies one source with all that is chosen below it: the walk makes the directories and all that is quick, and tells of
 *  files, whose bytes are copied meanwhile if there are many, and by then on both cores; last comes what needs both: the looks of directories, since what is
 *  done in one changes its time, and the fold. */
async function copyEntries(match: Match, target: string, copying: Copying): Promise<void> {
  const { action, context, looks, fold, linked } = copying;
  const { source, place } = context;
  const files = openFileCopies(context);
  const after: ((contents: readonly Content[]) => void)[] = [];
  const made = new Set<string>();

  const enter = (entry: Entry): void => {
    const path = childPath(target, entry.relative);
    const { stat } = entry;
    if (action.alwaysReplaceExistingDestPaths && !entry.isWay && !made.has(parentOf(path))) {
      const there = path === "" ? null : place.tree.lstat(path);
      if (there !== null && !(there.type === "directory" && stat.type === "directory")) place.remove(path);
    }
    if (stat.type === "directory") {
      if (enterDirectory(path)) made.add(path);
      if (fold !== null) after.push(() => fold.entry(entry, { kind: "none" }, source.xattrs(entry.path)));
      return;
    }
    if (stat.type === "file" && stat.nlink === 1) {
      const index = files.add({ from: entry.path, to: path, size: stat.size, look: looks.of(stat) });
      if (fold !== null) after.push((contents) => fold.entry(entry, contents[index] as Content, []));
      return;
    }
    const content = copyOther(path, entry);
    if (fold !== null) after.push(() => fold.entry(entry, content, []));
  };

  /** True: it was made. */
  const enterDirectory = (path: string): boolean => {
    const there = place.tree.lstat(path);
    if (there === null) {
      place.makeDirectory(path);
      return true;
    }
    if (there.type !== "directory") {
      throw new BuildError("COPY_FAILED", `cannot copy to non-directory: ${shown(path)}`);
    }
    return false;
  };

  const leave = (entry: Entry): void => {
    const path = joinPath(target, entry.relative);
    const look = looks.of(entry.stat);
    if (made.has(path) || (entry.relative !== "" && !entry.isWay)) {
      place.dress(path, { ...look, xattrs: source.xattrs(entry.path) }, "directory");
    } else if (entry.isWay) {
      place.chmodDirectory(path, entry.stat.mode);
    } else if (look.mtimeNs !== null) {
      // The destination itself was there: it keeps its owner and mode.
      place.setTime(path, look.mtimeNs);
    }
  };

  const copyOther = (path: string, entry: Entry): Content => {
    const { stat } = entry;
    const look = looks.of(stat);
    const dress = (): void => {
      const kind = stat.type === "symlink" ? "symlink" : "other";
      place.dress(path, { ...look, xattrs: source.xattrs(entry.path) }, kind);
    };
    switch (stat.type) {
      case "file": {
        const inode = `${stat.dev}:${stat.ino}`;
        const first = linked.get(inode);
        if (first !== undefined) {
          place.link(first.path, path);
          return first.content;
        }
        const content = copyFile(
          source,
          place,
          { from: entry.path, to: path, size: stat.size, look },
          context.idMode,
        );
        linked.set(inode, { path, content });
        return content;
      }
      case "symlink": {
        const link = source.readlink(entry.path);
        place.makeSymlink(path, link);
        dress();
        return { kind: "link", target: link };
      }
      case "socket":
        if (source.live) {
          const fd = place.createFile(path);
          try {
            dressFile(fd, { ...look, xattrs: [] }, context.idMode);
          } finally {
            close(fd);
          }
          return { kind: "file", digest: EMPTY, size: 0 };
        }
        break;
      case "fifo":
      case "character":
      case "block":
      case "directory":
        break;
    }
    place.makeNode(path, typeBits(stat.type) | 0o600, { major: stat.rdevMajor, minor: stat.rdevMinor });
    dress();
    return { kind: "none" };
  };

  try {
    walkMatch(source, match, action, { enter, leave: (entry) => after.push(() => leave(entry)) });
  } catch (error) {
    await files.abandon();
    throw error;
  }
  const contents = await files.finish();
  for (const finish of after) finish(contents);
}

/** Where a source goes: decides between "into the directory" and "as this name", and makes what is missing above. */
function prepareTarget(match: Match, action: CopyAction, place: Place, looks: Looks, dest: string): string {
  const isDirectory = match.stat.type === "directory";
  // "/a/b/" makes b, "/a/b" only a.
  const last = dest.slice(dest.lastIndexOf("/") + 1);
  const ensured = last !== "" && last !== "." ? dest.slice(0, dest.length - last.length) : dest;
  if (ensured !== "") place.makeParents(place.resolve(ensured), looks.made);

  let target = place.resolve(dest);
  const there = place.tree.lstat(target);
  if (there !== null && (isDirectory ? !action.dirCopyContents : there.type === "directory")) {
    target = joinPath(target, match.name);
  }
  const isContentsToNew = action.dirCopyContents && isDirectory && there === null;
  place.makeParents(isContentsToNew ? target : parentOf(target), looks.made);
  return target;
}

/** Feeds the fold with a source that went somewhere else than into a copy. */
function foldWhole(source: TreeReader, match: Match, action: CopyAction, fold: Copying["fold"]): void {
  if (fold === null) return;
  walkMatch(source, match, action, {
    enter: (entry) => {
      const content = contentWithoutReading(source, entry) ?? readContent(source, entry.path);
      fold.entry(entry, content, source.xattrs(entry.path));
    },
  });
}
