// Files of the client. Those on this machine are read where they are: never copied first, never sent; those elsewhere from a copy in the
// store that is brought up to date. Unchanged files are not read again.

import { existsSync } from "node:fs";
import { BuildError } from "../../solver/graph/error.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, Result } from "../../solver/graph/request.ts";
import { Scope, unlessAborted } from "../../solver/graph/scope.ts";
import type { FileRules, RemoteFiles, Session } from "../../solver/graph/session.ts";
import { keepSelection } from "../../cache/selection-files.ts";
import { openStatCache, type StatCache } from "../../cache/stat-cache.ts";
import type { SyncedDirectory } from "../../cache/synced-files.ts";
import type { TreeStat } from "../../cache/tree.ts";
import type { LiveTree } from "../../cache/tree-live.ts";
import type { Selector } from "../keeper/messages.ts";
import type { Store } from "../../cache/contract.ts";
import { flagIn, listIn, refuse } from "./attributes.ts";

/** What is told of live files while they are read. */
export interface LiveReading {
  /** Bytes more: picked, and read because it was not known what is in them. */
  readonly onBytes?: ((picked: number, read: number) => void) | undefined;
  /** Much of it is new, or was changed: steps are likely to run. Called before it is read. */
  readonly onNew?: (() => void) | undefined;
}

export interface LocalSource extends AsyncDisposable {
  /** The live result of a `local://name` source; until this is disposed it is where it says. Files elsewhere are brought up to date, which
   *  `vertex` shows. `paths`: all that is read of it; null: everything. Throws CONTEXT_MISSING, and for files elsewhere what syncFiles() does. */
  result(
    op: SourceOp,
    vertex: Digest,
    context: CallContext,
    paths: readonly string[] | null,
  ): Promise<Extract<Result, { kind: "files" }>>;
  /** Digest of what the selectors pick; remembers what it hashed. */
  digest(
    files: Extract<Result, { kind: "files" }>,
    selectors: readonly Selector[],
    options: LiveReading & { readonly signal: AbortSignal },
  ): Promise<Digest>;
}

/** Reports of bytes that come in are at least so far apart. */
const REPORT_MS = 100;

/** A directory of a client, as a source asks for it. */
interface Wanted {
  readonly name: string;
  readonly rules: FileRules;
  /** Keeps copies of directories apart that have the same name. */
  readonly hint: string;
  /** Every file is sent, whatever an earlier copy has. */
  readonly isFresh: boolean;
}

/** Opens the local source over a store's stat cache. Disposing it writes what was learnt about files, and lets go of copies: to be called
 *  once no build runs on them any more. */
export function openLocalSource(store: Store): LocalSource {
  const caches = new Map<string, StatCache>();
  const cacheOf = (root: string, isOurs: boolean): StatCache => {
    const known = caches.get(root);
    if (known !== undefined) return known;
    const cache = openStatCache(store.records, root, { isOurs });
    caches.set(root, cache);
    return cache;
  };
  const scope = new Scope(null);
  /** One copy for all of a build: it does not change under its steps. */
  const copies = new Map<string, Promise<string>>();
  const held = new Map<string, SyncedDirectory>(); // by their places
  const copyOf = (
    files: RemoteFiles,
    { name, rules, hint, isFresh }: Wanted,
    vertex: Digest,
    { signal, emit }: CallContext,
  ): Promise<string> => {
    const key = JSON.stringify([name, rules, hint, isFresh, files.key]);
    const known = copies.get(key);
    if (known !== undefined) return known;
    const copy = (async () => {
      const { syncFiles } = await import("../../cache/synced-files.ts");
      let saidMs = Number.NEGATIVE_INFINITY;
      const say = (current: number, done: boolean): void => {
        const atMs = Date.now();
        if (!done && atMs - saidMs < REPORT_MS) return;
        saidMs = atMs;
        emit({ kind: "bytes", vertex, label: `transferring ${name}:`, atMs, current, total: null, done });
      };
      let bytes = 0;
      const asked = hint === "" ? files : { ...files, key: JSON.stringify([files.key, hint]) };
      const synced = await syncFiles(asked, { name, ...rules }, store, {
        signal,
        isFresh,
        statCache: (root) => cacheOf(root, true),
        onBytes(count) {
          bytes += count;
          say(bytes, false);
        },
      });
      say(bytes, true);
      held.set(synced.path, scope.use(synced));
      return synced.path;
    })();
    copies.set(key, copy);
    copy.catch(() => copies.delete(key)); // who asked is told
    return copy;
  };
  return {
    async result(op, vertex, context, paths) {
      const { attrs } = op;
      if (flagIn(attrs, "local.metadatatransfer")) refuse(attrs, "local.metadatatransfer");
      const { session, name } = await sessionOf(op, context);
      const excludes = listIn(attrs, "local.excludepatterns");
      const includes = listIn(attrs, "local.includepattern");
      const follow = listIn(attrs, "local.followpaths");
      const files = await unlessAborted(session.files(name), context.signal);
      const wanted: Wanted = {
        name,
        // Files elsewhere are sent as far as they are needed.
        rules: { includes, excludes, follow: follow.length + includes.length > 0 ? follow : (paths ?? []) },
        hint: attrs["local.sharedkeyhint"] ?? "",
        isFresh: attrs["local.differ"] === "none",
      };
      const root = files.kind === "here" ? files.path : await copyOf(files, wanted, vertex, context);
      if (!existsSync(root))
        throw new BuildError("CONTEXT_MISSING", `build context "${name}" not found: ${root}`);
      // What was sent is what was asked for, and where links lead is known to who sent it.
      const chosen =
        follow.length === 0
          ? includes
          : files.kind === "here"
            ? await withFollowed(root, includes, follow)
            : [];
      return {
        kind: "files",
        name,
        root,
        excludes,
        includes: chosen,
        ...(attrs["local.mode"] === "git" ? { gitModes: true } : {}),
      };
    },
    async digest(files, selectors, { signal, onBytes, onNew }) {
      const { root } = files;
      const cache = cacheOf(root, false); // of a copy it is there
      const [{ readFailure, selectDigestLive }, { liveTree }, { filterTree }, { openSelectionMemory }] =
        await Promise.all([
          import("../../cache/path-hash.ts"),
          import("../../cache/tree-live.ts"),
          import("../../cache/tree-filter.ts"),
          import("../../cache/selection-memory.ts"),
        ]);
      const { includes, excludes, gitModes = false } = files;
      const question = JSON.stringify([includes, excludes, gitModes, selectors]);
      const memory = openSelectionMemory(store.records, root, question, { isOurs: held.has(root) });
      const known = (path: string, stat: TreeStat): Digest | null => cache.get(path, stat);
      let tree: LiveTree;
      try {
        tree = liveTree(root, known, {
          childrenOf: held.get(root)?.childrenOf,
          keepsLists: memory.hasOne,
        });
      } catch (error) {
        throw readFailure(error);
      }
      try {
        return await selectDigestLive(filterTree(tree, files), root, selectors, {
          signal,
          memory,
          // What was received has been counted.
          ...(onBytes === undefined || held.has(root) ? {} : { onBytes }),
          ...(onNew === undefined ? {} : { onNew }),
          onHashed: (path, stat, digest) => cache.put(path, stat, digest),
          onSelected: (digest, list) => keepSelection(store.records, digest, list),
        });
      } finally {
        tree.close();
      }
    },
    async [Symbol.asyncDispose]() {
      for (const cache of caches.values()) cache.flush();
      caches.clear();
      await scope[Symbol.asyncDispose]();
    },
  };
}

/** Whose directory it is: the attribute local.session names another session of the client, as "ID" or as "PREFIX:ID", where the directory has
 *  the prefix in its name. Of one that is not there the build's own is asked. */
async function sessionOf(
  op: SourceOp,
  { session, signal }: CallContext,
): Promise<{ readonly session: Session; readonly name: string }> {
  const name = op.identifier.replace(/^local:\/\//, "");
  const text = op.attrs["local.session"] ?? "";
  if (text === "") return { session, name };
  const colon = text.indexOf(":");
  const other = (await session.other?.(text.slice(colon + 1), { signal })) ?? session;
  return { session: other, name: colon < 0 ? name : `${text.slice(0, colon)}-${name}` };
}

/** Include patterns that choose the followed paths too. */
async function withFollowed(
  root: string,
  includes: readonly string[],
  paths: readonly string[],
): Promise<readonly string[]> {
  const [{ followPaths }, { liveTree }] = await Promise.all([
    import("../../cache/tree-follow.ts"),
    import("../../cache/tree-live.ts"),
  ]);
  const tree = liveTree(root, () => null);
  try {
    const followed = followPaths(tree, paths);
    return followed === null ? [] : [...includes, ...followed];
  } finally {
    tree.close();
  }
}
