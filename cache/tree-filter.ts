// Include and exclude patterns over a tree, as BuildKit applies them to a context (.dockerignore) and to one COPY
// (--exclude, --parents): moby/patternmatcher decides on a path, and an excluded directory is still included
// if something below it is.

import { compilePatterns, matchPath, type Patterns } from "../solver/graph/patterns.ts";
import { childPath, cleanPath, joinPath, textOf, type TreeReader, type TreeStat } from "./tree.ts";

/** in: chosen. way: a directory that only leads to something chosen. out: not there. */
export type Standing = "in" | "way" | "out";

export interface TreeFilter {
  /** `path` is relative to the tree. */
  standing(path: string, stat: TreeStat): Standing;
}

const ALL: TreeFilter = { standing: () => "in" };

/** Rules on paths relative to `base`; the base itself is always in. */
export function makeFilter(
  tree: Pick<TreeReader, "children">,
  base: string,
  includes: readonly string[],
  excludes: readonly string[],
): TreeFilter {
  if (includes.length === 0 && excludes.length === 0) return ALL;
  const include = includes.length === 0 ? null : compilePatterns(includes);
  const exclude = excludes.length === 0 ? null : compilePatterns(excludes);
  const wanted = includes.filter((pattern) => !isException(pattern)).map(segments);
  const exceptions = excludes.filter(isException).map((pattern) => segments(pattern.trim().slice(1)));
  const skip = base === "" ? 0 : base.length + 1;
  // Directories that are out themselves are searched for chosen descendants: once each.
  const leads = new Map<string, boolean>();

  const standing = (path: string, stat: TreeStat): Standing => {
    if (path.length <= base.length) return "in";
    const relative = textOf(path.slice(skip));
    const isExcluded = exclude?.matches(relative) === true;
    if (!isExcluded && (include === null || include.matches(relative))) return "in";
    if (stat.type !== "directory") return "out";
    if (isExcluded && !mayReach(exceptions, relative)) return "out";
    if (include !== null && !include.matches(relative) && !mayReach(wanted, relative)) return "out";
    let lead = leads.get(path);
    if (lead === undefined) {
      lead = tree.children(path).some((child) => standing(childPath(path, child.name), child.stat) !== "out");
      leads.set(path, lead);
    }
    return lead ? "way" : "out";
  };
  return { standing };
}

export interface TreeRules {
  readonly includes: readonly string[];
  readonly excludes: readonly string[];
  /** Modes as git keeps them: 755 for directories and what its owner may execute, 644 for other files. */
  readonly gitModes?: boolean;
}

/** A tree as its rules show it; `hiddenBy` tells the rule. */
export function filterTree(unfiltered: TreeReader, rules: TreeRules): TreeReader {
  const tree = rules.gitModes === true ? withGitModes(unfiltered) : unfiltered;
  if (rules.includes.length === 0 && rules.excludes.length === 0) return tree;
  const filter = makeFilter(tree, "", rules.includes, rules.excludes);
  const exclude: Patterns | null = rules.excludes.length === 0 ? null : compilePatterns(rules.excludes);
  return {
    ...tree,
    lstat: (path) => {
      const stat = tree.lstat(path);
      return stat === null || filter.standing(path, stat) === "out" ? null : stat;
    },
    children: (path) =>
      tree
        .children(path)
        .filter((child) => filter.standing(joinPath(path, child.name), child.stat) !== "out"),
    hiddenBy: (path) => {
      const stat = tree.lstat(path);
      if (stat === null || filter.standing(path, stat) !== "out") return null;
      const index = exclude?.which(textOf(path)) ?? null;
      return index === null ? null : (rules.excludes[index] ?? null);
    },
  };
}

function withGitModes(tree: TreeReader): TreeReader {
  const look = (stat: TreeStat): TreeStat => {
    if (stat.type !== "directory" && stat.type !== "file") return stat;
    return { ...stat, mode: stat.type === "directory" || (stat.mode & 0o100) !== 0 ? 0o755 : 0o644 };
  };
  return {
    ...tree,
    lstat: (path) => {
      const stat = tree.lstat(path);
      return stat === null ? null : look(stat);
    },
    children: (path) => tree.children(path).map(({ name, stat }) => ({ name, stat: look(stat) })),
  };
}

function isException(pattern: string): boolean {
  return pattern.trimStart().startsWith("!");
}

function segments(pattern: string): string[] {
  return cleanPath(pattern.trim()).split("/");
}

/** Could one of the patterns match the directory or something below it? Doubt is a yes. */
function mayReach(patterns: readonly (readonly string[])[], directory: string): boolean {
  const parts = directory.split("/");
  return patterns.some((pattern) => {
    for (const [index, part] of parts.entries()) {
      const wanted = pattern[index];
      // A pattern that ends here matches this directory or one above, and with it all that is below.
      if (wanted === undefined || wanted === "" || wanted.includes("**")) return true;
      if (wanted === part) continue;
      if (!/[*?[\\]/.test(wanted)) return false;
      try {
        if (!matchPath(wanted, part)) return false;
      } catch {
        return true; // a class that holds a slash was cut in two: matched as a whole elsewhere
      }
    }
    return true;
  });
}
