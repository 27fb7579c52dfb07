// Which paths of a tree others have to be sent with: those asked for, and what links on their way lead to (BuildKit's followpaths;
// fsutil, followlinks.go).

import { BuildError } from "../solver/graph/error.ts";
import { compileGlob } from "../solver/graph/patterns.ts";
import { baseOf, bytesOf, cleanPath, joinPath, PATH_MAX_BYTES, textOf, type TreeReader } from "./tree.ts";

/** Of one call; a Dockerfile names some dozens. */
const FOLLOWED_MAX = 100_000;

/** One component of a path: a name, or a pattern as it was asked for. */
interface Part {
  readonly text: string; // byte string
  readonly isPattern: boolean;
}

/** The asked paths and the targets of links, as patterns for a filter; null: everything. Links lead nowhere outside of the tree. Throws
 *  LIMIT_EXCEEDED, DOCKERFILE_SYNTAX. */
export function followPaths(
  tree: Pick<TreeReader, "lstat" | "children" | "readlink">,
  paths: readonly string[],
): readonly string[] | null {
  const found = new Set<string>();
  const todo = paths.map((path) => parts(bytesOf(path), true));
  let count = 0;
  for (let path = todo.pop(); path !== undefined; path = todo.pop()) {
    if (++count > FOLLOWED_MAX)
      throw new BuildError("LIMIT_EXCEEDED", `more than ${FOLLOWED_MAX} paths and links are to be followed`);
    if (path.length === 0) return null;
    const first = path.findIndex((_, index) => targetsOf(tree, path.slice(0, index + 1)).length > 0);
    const upTo = first < 0 ? path : path.slice(0, first + 1);
    const pattern = upTo.map(({ text, isPattern }) => (isPattern ? text : escaped(text))).join("/");
    if (first < 0) {
      found.add(textOf(pattern));
      continue;
    }
    const rest = path.slice(first + 1);
    const key = textOf([pattern, ...rest.map(({ text }) => text)].join("/"));
    if (found.has(`\0${key}`)) continue; // a circle
    found.add(`\0${key}`).add(textOf(pattern));
    for (const target of targetsOf(tree, upTo)) {
      const next = [...target, ...rest];
      // A link to something below itself gets longer each time, and leads nowhere.
      if (lengthOf(next) <= PATH_MAX_BYTES) todo.push(next);
    }
  }
  return [...found].filter((pattern) => !pattern.startsWith("\0"));
}

function lengthOf(path: readonly Part[]): number {
  return path.reduce((sum, { text }) => sum + text.length + 1, 0);
}

function parts(path: string, isAsked: boolean): Part[] {
  const clean = cleanPath(path);
  if (clean === "") return [];
  return clean.split("/").map((text) => ({ text, isPattern: isAsked && /[*?[\\]/.test(text) }));
}

/** Where the links that a path ends in lead to. */
function targetsOf(
  tree: Pick<TreeReader, "lstat" | "children" | "readlink">,
  path: readonly Part[],
): Part[][] {
  const last = path.at(-1);
  // Below a pattern nothing is looked up: what it stands for is taken as it is.
  if (last === undefined || path.slice(0, -1).some(({ isPattern }) => isPattern)) return [];
  const directory = path
    .slice(0, -1)
    .map(({ text }) => text)
    .join("/");
  if (!last.isPattern) {
    const own = joinPath(directory, last.text);
    return tree.lstat(own)?.type === "symlink" ? [targetOf(tree, own)] : [];
  }
  if (directory !== "" && tree.lstat(directory)?.type !== "directory") return [];
  const matches = compileGlob(textOf(last.text));
  return tree
    .children(directory)
    .filter(({ name, stat }) => stat.type === "symlink" && matches(textOf(name)))
    .map(({ name }) => targetOf(tree, joinPath(directory, name)));
}

function targetOf(tree: Pick<TreeReader, "readlink">, path: string): Part[] {
  const target = tree.readlink(path);
  const from = target.startsWith("/") ? "" : path.slice(0, path.length - baseOf(path).length);
  return parts(`${from}${target}`, false);
}

/** A name as a pattern that stands for nothing else. Blanks at an end would be cut off, "!" at the start take back. */
function escaped(name: string): string {
  return name.replace(/[*?[\\!]/g, "\\$&").replace(/^\s|\s$/g, "[$&]");
}
