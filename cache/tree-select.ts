// Which paths of a tree a selector matches: the sources of a COPY with BuildKit's rules (fsutil/copy), or a subtree.
// Hashing and copying use the same functions, so that a content key covers exactly what is copied.

import { BuildError } from "../solver/graph/error.ts";
import type { CopyAction } from "../solver/graph/op.ts";
import { compileGlob } from "../solver/graph/patterns.ts";
import {
  baseOf,
  bytesOf,
  childPath,
  cleanPath,
  joinPath,
  resolvePath,
  textOf,
  type TreeReader,
  type TreeStat,
} from "./tree.ts";
import { makeFilter } from "./tree-filter.ts";

/** The paths an op reads. copy: as FileActionCopy picks its sources; subtree: all below a path, for read-only mounts. */
export type Selector =
  | {
      readonly kind: "copy";
      readonly src: string;
      readonly followSymlink: boolean;
      readonly allowWildcard: boolean;
      readonly includePatterns: readonly string[];
      readonly excludePatterns: readonly string[];
      /** Owners and modes of the sources do not matter where the op sets them. */
      readonly ignoreOwner: boolean;
      readonly ignoreMode: boolean;
    }
  | { readonly kind: "subtree"; readonly path: string };

export type CopySelector = Extract<Selector, { kind: "copy" }>;

/** The selector of what a copy action reads. Owner and mode of the sources count only where the action keeps them. */
export function copySelector(action: CopyAction): CopySelector {
  return {
    kind: "copy",
    src: action.src,
    followSymlink: action.followSymlink,
    allowWildcard: action.allowWildcard,
    includePatterns: action.includePatterns,
    excludePatterns: action.excludePatterns,
    ignoreOwner: action.owner !== null,
    ignoreMode: action.mode !== null && action.modeStr === "",
  };
}

/** One source of a copy. Paths are byte strings relative to the tree. */
export interface Match {
  /** Where it really lies, links resolved. */
  readonly path: string;
  /** Last part of the path it was asked by: its name in a destination directory; "" for the root. */
  readonly name: string;
  readonly stat: TreeStat;
}

/** The sources of a copy, in order; none when a wildcard matches nothing. Throws CONTEXT_PATH_MISSING for a source that
 *  does not exist. */
export function findMatches(
  tree: TreeReader,
  selector: Pick<CopySelector, "src" | "allowWildcard" | "followSymlink">,
): Match[] {
  const src = bytesOf(selector.src);
  const paths = selector.allowWildcard ? expandWildcards(tree, src, selector.followSymlink) : [src];
  return paths.map((asked) => {
    const path = resolvePath(tree, asked, selector.followSymlink);
    const stat = tree.lstat(path);
    if (stat === null) throw missing(tree, asked, path);
    return { path, name: baseOf(cleanPath(asked)), stat };
  });
}

/** The error for a path that is not in a tree, in BuildKit's words; says so when an ignore rule hides it. */
export function missing(tree: TreeReader, asked: string, resolved: string): BuildError {
  const shown = `/${textOf(cleanPath(asked))}`;
  const rule = tree.hiddenBy(resolved);
  return new BuildError(
    "CONTEXT_PATH_MISSING",
    `failed to calculate checksum of ref: ${JSON.stringify(shown)}: not found`,
    {
      hint:
        rule === null
          ? tree.live
            ? `${shown.slice(1)} does not exist in the build context`
            : null
          : `it is excluded by the pattern ${JSON.stringify(rule)} in .dockerignore`,
    },
  );
}

/** Paths that match, in walking order; throws DOCKERFILE_SYNTAX for a malformed pattern. The part before the first wildcard is resolved, the rest is matched as one
 *  pattern against the paths below it; what is below a match is not looked at. */
function expandWildcards(tree: TreeReader, src: string, followSymlink: boolean): string[] {
  const parts = cleanPath(src).split("/");
  const first = parts.findIndex(hasWildcard);
  if (first < 0) return [parts.join("/")];
  const base = resolvePath(tree, parts.slice(0, first).join("/"), followSymlink);
  const pattern = textOf(parts.slice(first).join("/"));
  const matches = compileGlob(pattern);
  const stat = tree.lstat(base);
  if (stat === null) throw missing(tree, parts.slice(0, first).join("/"), base);
  // Only a slash in the pattern or a negated class matches a slash, so deeper names cannot match.
  const depth = parts.length - first + pattern.split("[").length - 1;
  const found: string[] = [];
  const search = (directory: string, relative: string, level: number): void => {
    for (const child of tree.children(directory)) {
      const path = childPath(directory, child.name);
      const below = joinPath(relative, child.name);
      if (matches(textOf(below))) found.push(path);
      else if (child.stat.type === "directory" && level < depth) search(path, below, level + 1);
    }
  };
  if (stat.type === "directory") search(base, "", 1);
  return found;
}

function hasWildcard(part: string): boolean {
  return /^(?:[^\\]|\\.)*?[*?[]/s.test(part);
}

/** Something that is copied. */
export interface Entry {
  readonly path: string; // in the tree
  readonly relative: string; // below the match; "" is the match itself
  readonly stat: TreeStat;
  /** A directory that is there only because something below it was chosen. */
  readonly isWay: boolean;
}

/** Told what selectors pick: each selector, its sources, and the entries of each. */
export interface SelectionVisitor {
  selector(selector: Selector): void;
  match(match: Match): void;
  entry(entry: Entry): void;
}

export interface Visitor {
  /** Directories before what is in them. */
  enter(entry: Entry): void;
  /** Directories, after all that is in them. */
  leave?(entry: Entry): void;
}

/** Walks what a selector's patterns choose below one match, sorted by bytes in each directory. Directories that hold
 *  nothing chosen are not entered. Throws LIMIT_EXCEEDED for a path that is too long, which bounds the depth as well. */
export function walkMatch(
  tree: TreeReader,
  match: Pick<Match, "path" | "stat">,
  patterns: Pick<CopySelector, "includePatterns" | "excludePatterns">,
  visitor: Visitor,
): void {
  const walk = walkMatchInTurns(tree, match, patterns, visitor);
  while (walk.next().done !== true);
}

/** Names between two turns: some 5 ms. */
const NAMES_A_TURN = 1000;

/** walkMatch() for a process that has something else to do as well: it yields after every so many names. */
export function* walkMatchInTurns(
  tree: TreeReader,
  match: Pick<Match, "path" | "stat">,
  patterns: Pick<CopySelector, "includePatterns" | "excludePatterns">,
  visitor: Visitor,
): Generator<void, void, undefined> {
  const filter = makeFilter(tree, match.path, patterns.includePatterns, patterns.excludePatterns);
  const top: Entry = { path: match.path, relative: "", stat: match.stat, isWay: false };
  visitor.enter(top);
  if (top.stat.type !== "directory") return;
  const open = [{ entry: top, children: tree.children(top.path), at: 0 }];
  let names = 0;
  for (let directory = open.at(-1); directory !== undefined; directory = open.at(-1)) {
    const child = directory.children[directory.at++];
    if (child === undefined) {
      open.pop();
      visitor.leave?.(directory.entry);
      continue;
    }
    if (++names % NAMES_A_TURN === 0) yield;
    const path = childPath(directory.entry.path, child.name);
    const standing = filter.standing(path, child.stat);
    if (standing === "out") continue;
    const relative = joinPath(directory.entry.relative, child.name);
    const entry: Entry = { path, relative, stat: child.stat, isWay: standing === "way" };
    visitor.enter(entry);
    if (child.stat.type === "directory") open.push({ entry, children: tree.children(path), at: 0 });
  }
}
