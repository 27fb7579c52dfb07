// Files of the asker, read where they are: never copied first, never sent. Unchanged files are not read again.

import { existsSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { Result, Session } from "../../solver/graph/request.ts";
import { keepSelection } from "../../cache/selection-files.ts";
import { openStatCache, type StatCache } from "../../cache/stat-cache.ts";
import type { Store } from "../../cache/store.ts";
import type { TreeStat } from "../../cache/tree.ts";
import type { LiveTree } from "../../cache/tree-live.ts";
import type { Selector } from "../keeper/messages.ts";

/** Bytes more of live files: picked, and read because it was not known what is in them. */
export type BytesRead = (picked: number, read: number) => void;

export interface LocalSource {
  /** The live result of a `local://name` source. Throws CONTEXT_MISSING. */
  result(op: SourceOp, session: Session): Extract<Result, { kind: "files" }>;
  /** Digest of what the selectors pick; remembers what it hashed. onBytes: see Worker.contentDigest. */
  digest(
    files: Extract<Result, { kind: "files" }>,
    selectors: readonly Selector[],
    session: Session,
    options: { readonly signal: AbortSignal; readonly onBytes?: BytesRead | undefined },
  ): Promise<Digest>;
  /** Writes what was learnt about files. To be called once no build runs on them any more. */
  flush(): void;
}

/** Opens the local source over a store's stat cache. */
export function openLocalSource(store: Store): LocalSource {
  const caches = new Map<string, StatCache>();
  const cacheOf = (root: string): StatCache => {
    const known = caches.get(root);
    if (known !== undefined) return known;
    const cache = openStatCache(store.records, root);
    caches.set(root, cache);
    return cache;
  };
  return {
    result(op, session) {
      const name = op.identifier.replace(/^local:\/\//, "");
      const root = session.directory(name);
      if (!existsSync(root))
        throw new BuildError(
          "CONTEXT_MISSING",
          `the directory of the build context "${name}" is not there: ${root}`,
        );
      return {
        kind: "files",
        name,
        excludes: patterns(op.attrs.excludepatterns),
        includes: patterns(op.attrs.includepattern),
        ...(op.attrs["local.mode"] === "git" ? { gitModes: true } : {}),
      };
    },
    async digest(files, selectors, session, { signal, onBytes }) {
      const root = session.directory(files.name);
      const cache = cacheOf(root);
      const [{ readFailure, selectDigestLive }, { liveTree }, { filterTree }] = await Promise.all([
        import("../../cache/path-hash.ts"),
        import("../../cache/tree-live.ts"),
        import("../../cache/tree-filter.ts"),
      ]);
      const known = (path: string, stat: TreeStat): Digest | null => cache.get(path, stat);
      let tree: LiveTree;
      try {
        tree = liveTree(root, known);
      } catch (error) {
        throw readFailure(error);
      }
      try {
        return await selectDigestLive(filterTree(tree, files), root, selectors, {
          signal,
          ...(onBytes === undefined ? {} : { onBytes }),
          onHashed: (path, stat, digest) => cache.put(path, stat, digest),
          onSelected: (digest, list) => keepSelection(store.records, digest, list),
        });
      } finally {
        tree.close();
      }
    },
    flush() {
      for (const cache of caches.values()) cache.flush();
      caches.clear();
    },
  };
}

/** JSON array of patterns in a source attribute; absent: none. */
function patterns(text: string | undefined): readonly string[] {
  if (text === undefined || text === "") return [];
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list) || !list.every((item): item is string => typeof item === "string")) {
    throw new BuildError("SOURCE_FAILED", "the patterns of a local source are not a list of texts");
  }
  return list;
}
