// Which paths of its inputs an op reads. If only those matter, an input may be part of a cache key by their content
// instead of by its identity: COPY sources, and mounts of a RUN that it does not write to.

import { posix } from "node:path";
import { copySelector } from "../cache/tree-select.ts";
import type { ExecMount, ExecOp, FileOp, Op } from "./graph/op.ts";
import type { Selector } from "../worker/keeper/messages.ts";

/** All of a tree: for live files, which have no other name than their content. */
export const WHOLE: readonly Selector[] = [{ kind: "subtree", path: "/" }];

/** For each of `inputCount` inputs: what the op reads of it, or null when the input counts as a whole, by identity. */
export function readsOf(op: Op, inputCount: number): readonly (readonly Selector[] | null)[] {
  switch (op.kind) {
    case "exec":
      return execReads(op, inputCount);
    case "file":
      return fileReads(op, inputCount);
    case "source":
    case "merge":
    case "diff":
    case "build":
    case "passthrough":
      return Array.from({ length: inputCount }, () => null);
  }
}

function fileReads(op: FileOp, inputCount: number): readonly (readonly Selector[] | null)[] {
  const reads = collectReads(inputCount);
  for (const action of op.actions) {
    reads.whole(action.base);
    if (action.kind === "copy") reads.part(action.from, copySelector(action));
    if (action.kind === "rm") continue;
    // Names of users are looked up in /etc of an input, in a way only the worker knows: the input counts as a whole.
    for (const who of [action.owner?.user, action.owner?.group]) {
      if (who?.kind === "name") reads.whole(who.input);
    }
  }
  return reads.list();
}

function execReads(op: ExecOp, inputCount: number): readonly (readonly Selector[] | null)[] {
  const reads = collectReads(inputCount);
  for (const mount of op.mounts) {
    if ((mount.kind !== "bind" && mount.kind !== "cache") || mount.input === null) continue;
    if (leavesNothing(mount)) reads.part(mount.input, { kind: "subtree", path: rooted(mount.selector) });
    else reads.whole(mount.input);
  }
  return reads.list();
}

/** The root counts as a whole: a command may read anything of it. A writable mount whose changes are kept is part of
 *  the result, which has the layers of the input below it. A cache mount only starts from its input. A definition may say otherwise, where
 *  that is safe (llb-check.ts). */
function leavesNothing(mount: ExecMount & { readonly kind: "bind" | "cache" }): boolean {
  if (mount.kind === "cache") return true;
  if (mount.contentCache !== undefined) return mount.contentCache === "on";
  return rooted(mount.target) !== "/" && (mount.readonly || mount.output === null);
}

/** "a//b/" to "/a/b". Lexical, for equal keys only: the worker resolves names inside the tree. */
function rooted(path: string): string {
  return `/${path
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/")}`;
}

/** The paths that steps read of a source, for who has to send them: relative, patterns among them as BuildKit's followpaths; null: everything.
 *  `reads`: what each step reads of it. */
export function sourcePaths(reads: readonly (readonly Selector[] | null)[]): readonly string[] | null {
  const paths = new Set<string>();
  for (const selectors of reads) {
    if (selectors === null) return null;
    for (const selector of selectors) {
      const isPattern = selector.kind === "copy" && selector.allowWildcard;
      const path = posix.join("/", selector.kind === "copy" ? selector.src : selector.path).slice(1);
      // A name with the characters of a pattern cannot be asked for.
      if (path === "" || (!isPattern && /[*?[\\]/.test(path))) return null;
      paths.add(path.replace(/\/$/, ""));
    }
  }
  return [...paths].sort();
}

interface Reads {
  /** Indices from the number of inputs on are results of earlier actions: no input. */
  whole(input: number | null): void;
  part(input: number | null, selector: Selector): void;
  list(): readonly (readonly Selector[] | null)[];
}

/** Collects what is read of each input, in the order of the op (the worker's digest of what it read keeps the same
 *  order); "as a whole" wins over parts. */
function collectReads(inputCount: number): Reads {
  const parts: Selector[][] = Array.from({ length: inputCount }, () => []);
  const whole = new Set<number>();
  return {
    whole(input) {
      if (input !== null) whole.add(input);
    },
    part(input, selector) {
      if (input !== null) parts[input]?.push(selector);
    },
    list: () => parts.map((some, input) => (whole.has(input) || some.length === 0 ? null : some)),
  };
}
