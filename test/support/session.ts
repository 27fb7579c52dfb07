// Clients for tests: one that provides nothing, and one whose files are elsewhere.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { filterTree } from "../../cache/tree-filter.ts";
import { joinPath, textOf } from "../../cache/tree.ts";
import { liveTree } from "../../cache/tree-live.ts";
import type {
  FileEntry,
  FilePiece,
  FileRules,
  RemoteBlobs,
  RemoteFiles,
  Session,
} from "../../solver/graph/session.ts";
import { followPaths } from "../../cache/tree-follow.ts";

export const NO_SESSION: Session = {
  files: async (name) => assert.fail(`files of ${name}`),
  secret: async () => null,
  sshSocket: async () => null,
  credentials: async () => null,
  outputs: null,
};

export interface RemoteDirectory extends RemoteFiles {
  /** Paths whose contents were asked for, in order, since the last take(). */
  take(): string[];
}

/** A directory of this machine as one of a client elsewhere: nothing but a listing and contents, in small pieces. */
export function remoteDirectory(root: string, key: string = root): RemoteDirectory {
  let sent: string[] = [];
  return {
    kind: "elsewhere",
    key,
    take() {
      const taken = sent;
      sent = [];
      return taken;
    },
    async open(rules) {
      const entries = list(root, rules);
      return {
        async *listing() {
          yield entries;
        },
        async *contents(wanted): AsyncGenerator<readonly FilePiece[]> {
          for (const index of wanted) {
            const { path, type } = entries[index] ?? assert.fail(`no entry ${index}`);
            assert.equal(type, "file", path);
            sent.push(path);
            const data = readFileSync(join(root, path));
            for (let at = 0; at < data.length; at += 50_000)
              yield [{ index, data: data.subarray(at, at + 50_000) }];
            yield [{ index, data: null }];
          }
        },
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

/** The blobs of an OCI layout of this machine as a store of a client elsewhere. asked: digests whose bytes were read. */
export function remoteLayout(dir: string, asked: string[] = []): RemoteBlobs {
  const pathOf = (digest: string): string => join(dir, "blobs", digest.replace(":", "/"));
  return {
    kind: "elsewhere",
    size: async (digest) => statSync(pathOf(digest), { throwIfNoEntry: false })?.size ?? null,
    async *read(digest) {
      asked.push(digest);
      const data = readFileSync(pathOf(digest));
      for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000);
    },
  };
}

const TYPES: Readonly<Record<string, FileEntry["type"]>> = {
  file: "file",
  directory: "directory",
  symlink: "symlink",
  fifo: "fifo",
};

function list(root: string, { includes, excludes, follow }: FileRules): FileEntry[] {
  const live = liveTree(root, () => null);
  const followed = followPaths(live, follow);
  const tree = filterTree(live, { includes: followed === null ? [] : [...includes, ...followed], excludes });
  const first = new Map<bigint, string>();
  const entries: FileEntry[] = [];
  const enter = (directory: string): void => {
    for (const { name, stat } of tree.children(directory)) {
      const path = joinPath(directory, name);
      const { mode, size, mtimeNs } = stat;
      const entry = {
        path: textOf(path),
        type: TYPES[stat.type] ?? "other",
        mode,
        size,
        mtimeNs,
        linkName: "",
      };
      const earlier = stat.type === "file" && stat.nlink > 1 ? first.get(stat.ino) : undefined;
      if (earlier === undefined) first.set(stat.ino, entry.path);
      if (earlier !== undefined) entries.push({ ...entry, type: "hardlink", linkName: earlier });
      else if (stat.type === "symlink") entries.push({ ...entry, linkName: textOf(tree.readlink(path)) });
      else entries.push(entry);
      if (stat.type === "directory") enter(path);
    }
  };
  enter("");
  live.close();
  return entries;
}
