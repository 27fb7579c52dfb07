// Which paths of a directory belong to others: links on the way to them, and what those lead to. fsutil, followlinks.go.

import { compileGlob } from "../../solver/graph/patterns.ts";
import { BuildError } from "../../solver/graph/error.ts";
import {
  bytesOf,
  childPath,
  cleanPath,
  joinPath,
  parentOf,
  textOf,
  type TreeReader,
} from "../../cache/tree.ts";

/** Links of one list of paths; wildcards and links to links multiply. */
const LINKS_MAX = 10_000;

/** The paths as patterns that select them: each with the links it goes through, in the order they are met. A path that is not there stands
 *  for itself; none, where one of them is the directory itself. Throws LIMIT_EXCEEDED. */
export function followLinks(
  tree: Pick<TreeReader, "lstat" | "readlink" | "children">,
  paths: readonly string[],
): string[] {
  const found = new Set<string>();
  const open = paths.map((path) => cleanPath(bytesOf(path))).reverse();
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const parts = path.split("/").filter((part) => part !== "");
    if (parts.length === 0) return [];
    let at = "";
    for (const [index, part] of parts.entries()) {
      at = childPath(at, part);
      const targets = targetsOf(tree, at);
      const isLast = index === parts.length - 1;
      if (targets.length === 0 && !isLast) continue;
      if (found.has(at)) break;
      found.add(at);
      if (found.size > LINKS_MAX)
        throw new BuildError(
          "LIMIT_EXCEEDED",
          `paths of the context lead through more than ${LINKS_MAX} links`,
        );
      const rest = parts.slice(index + 1).join("/");
      for (const target of targets.reverse()) open.push(cleanPath(joinPath(target, rest)));
      break;
    }
  }
  return [...found].map(textOf);
}

/** What links lead to that a path (whose last name may be a pattern) names. */
function targetsOf(tree: Pick<TreeReader, "lstat" | "readlink" | "children">, path: string): string[] {
  const parent = parentOf(path);
  const name = path.slice(parent === "" ? 0 : parent.length + 1);
  if (!/[*?[]/.test(name)) return targetOf(tree, path);
  if (tree.lstat(parent)?.type !== "directory") return [];
  const glob = compileGlob(textOf(name));
  return tree
    .children(parent)
    .filter((child) => glob(textOf(child.name)))
    .flatMap((child) => targetOf(tree, childPath(parent, child.name)));
}

function targetOf(tree: Pick<TreeReader, "lstat" | "readlink">, path: string): string[] {
  if (path === "" || tree.lstat(path)?.type !== "symlink") return [];
  const text = tree.readlink(path);
  return [cleanPath(text.startsWith("/") ? text : joinPath(parentOf(path), text))];
}
