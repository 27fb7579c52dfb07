// [keeper] FileOp: its actions in order on one active layer. The layer is mounted above its base as a detached mount,
// all work is done on descriptors below it, and the mount ends with them. Files that are unchanged from the layers below are not part
// of the layer: `COPY . .` after `COPY package.json .` copies that file again.

import { setOwner } from "../../cache/layers/owner.ts";
import { combineSelections } from "../../cache/path-hash.ts";
import {
  baseOf,
  bytesOf,
  cleanPath,
  joinPath,
  parentOf,
  resolvePath,
  type TreeReader,
} from "../../cache/tree.ts";
import { findMatches } from "../../cache/tree-select.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import { BuildError, withLeft } from "../../solver/graph/error.ts";
import type { ChownOpt, FileAction } from "../../solver/graph/op.ts";
import type { FileJob, FileOutcome, Tree } from "../keeper/messages.ts";
import { close, fchmod, fstat, openat, utimensat } from "../sys/file.ts";
import { overlayMount } from "../sys/mount.ts";
import { runCopy } from "./copy.ts";
import { inWords, inWordsAsync } from "./failure.ts";
import { emptyTree } from "./fd-tree.ts";
import { type OpenTree, openTreeOf } from "./open-tree.ts";
import { type Owner, ROOT, resolveOwner } from "./owner.ts";
import { type IdMode, openPlace, type Place, shown, writeFully } from "./place.ts";
import { stackOf } from "./stack.ts";
import { dropUnchanged } from "./unchanged.ts";
import { unpackMatch } from "./unpack.ts";
import { O, S } from "../sys/constants.ts";

/** Runs the job; blocks its thread. Throws BuildError: CONTEXT_PATH_MISSING, COPY_FAILED, USER_UNKNOWN, STORE_FULL,
 *  ARCHIVE_INVALID, CONTEXT_CHANGED, with the action in `left`. What a failed job leaves in `upper` is for the caller to drop. */
export async function runFileJob(job: FileJob, idMode: IdMode): Promise<FileOutcome> {
  return inWordsAsync("file operation", async () => {
    const mount = overlayMount({
      lowers: stackOf(job.base),
      upper: job.upper,
      work: job.work,
      userxattr: true,
    });
    const place = openPlace(mount, idMode);
    const inputs = new Inputs(job.inputs, place);
    const read: Digest[] = [];
    const notes: string[] = [];
    try {
      for (const [index, action] of job.actions.entries()) {
        const digest = await runAction(action, { job, place, inputs, idMode, notes }).catch(
          (error: unknown) => {
            throw error instanceof BuildError ? atAction(error, index) : error;
          },
        );
        if (digest !== null) read.push(digest);
      }
    } finally {
      inputs.close();
      place.close();
    }
    dropUnchanged(job.upper, job.base);
    return { readDigest: read.length === 0 ? null : combineSelections(read), notes };
  });
}

/** Says which action of the job it was; what it left is known to the front. */
function atAction(error: BuildError, index: number): BuildError {
  return withLeft(error, { inputs: [], mounts: [], subject: { kind: "file", index } });
}

interface Running {
  readonly job: FileJob;
  readonly place: Place;
  readonly inputs: Inputs;
  readonly idMode: IdMode;
  readonly notes: string[];
}

/** The trees of a job, mounted when first needed. Indexes behind them stand for the layer that the actions work on (file-runs.ts). */
class Inputs {
  readonly #trees: readonly (Tree | null)[];
  readonly #place: Place;
  readonly #opened = new Map<number, OpenTree>();
  constructor(trees: readonly (Tree | null)[], place: Place) {
    this.#trees = trees;
    this.#place = place;
  }
  /** null is scratch. */
  open(input: number | null): TreeReader {
    if (input === null) return emptyTree();
    if (input >= this.#trees.length) throw new Error("a copy from an earlier action needs its own layer");
    return this.#open(input).tree;
  }
  /** Descriptor of the root of an input, null for scratch. */
  root(input: number): number | null {
    return input >= this.#trees.length ? this.#place.tree.root : this.#open(input).root;
  }
  close(): void {
    for (const { close } of this.#opened.values()) close();
    this.#opened.clear();
  }
  #open(input: number): OpenTree {
    let opened = this.#opened.get(input);
    if (opened === undefined) {
      opened = openTreeOf(this.#trees[input] ?? null);
      this.#opened.set(input, opened);
    }
    return opened;
  }
}

async function runAction(action: FileAction, running: Running): Promise<Digest | null> {
  const { job, place, inputs, idMode, notes } = running;
  const ownerOf = (owner: ChownOpt | null): Owner | null =>
    resolveOwner(owner, (input) => inputs.root(input));
  const madeTimeNs = job.times.epochSeconds === null ? null : BigInt(job.times.epochSeconds) * 1_000_000_000n;
  switch (action.kind) {
    case "copy":
      return inWordsAsync(`copy ${action.src} to ${action.dest}`, () =>
        runCopy(action, {
          source: inputs.open(action.from),
          sourceRoot: action.from === null ? null : inputs.root(action.from),
          place,
          owner: ownerOf(action.owner),
          idMode,
          madeTimeNs,
          unpack: (match, directory, made) =>
            unpackMatch(inputs.open(action.from), match, place, directory, {
              made,
              owner: ownerOf(action.owner),
              note: (message) => notes.push(message),
            }),
        }),
      );
    case "mkdir":
      inWords(`mkdir ${action.path}`, () => makeDirectory(place, action, ownerOf(action.owner), madeTimeNs));
      return null;
    case "mkfile":
      inWords(`write ${action.path}`, () => makeFile(running, action, ownerOf(action.owner), madeTimeNs));
      return null;
    case "symlink":
      inWords(`symlink ${action.path}`, () => makeSymlink(place, action, ownerOf(action.owner), madeTimeNs));
      return null;
    case "rm":
      inWords(`remove ${action.path}`, () => remove(place, action));
      return null;
  }
}

type ActionOf<K extends FileAction["kind"]> = Extract<FileAction, { kind: K }>;

function makeDirectory(
  place: Place,
  action: ActionOf<"mkdir">,
  owner: Owner | null,
  madeTimeNs: bigint | null,
): void {
  const path = place.resolve(bytesOf(action.path));
  const look = { owner: owner ?? ROOT, mode: action.mode & 0o777, mtimeNs: action.timestampNs ?? madeTimeNs };
  if (action.makeParents) {
    place.makeParents(path, look);
    return;
  }
  if (place.tree.lstat(path) !== null) return;
  place.makeDirectory(path);
  place.dress(path, { ...look, xattrs: [] }, "directory");
}

/** An existing file keeps its mode, and its owner unless one is given: open(2) with O_TRUNC, as os.WriteFile does. */
function makeFile(
  running: Running,
  action: ActionOf<"mkfile">,
  owner: Owner | null,
  madeTimeNs: bigint | null,
): void {
  const { place, idMode } = running;
  const path = place.resolve(bytesOf(action.path));
  const there = place.tree.lstat(path);
  if (there !== null && there.type !== "file") {
    throw new BuildError("COPY_FAILED", `open ${shown(path)}: not a regular file`);
  }
  const fd =
    there === null
      ? place.createFile(path)
      : openat(place.tree.cursor.at(parentOf(path)), Buffer.from(baseOf(path), "latin1"), EXISTING);
  try {
    if ((fstat(fd).mode & S.IFMT) !== S.IFREG) throw new Error("opened something else than a file");
    writeFully(fd, action.data);
    if (there === null || owner !== null) {
      const { uid, gid } = owner ?? ROOT;
      setOwner(fd, "", uid, gid, idMode);
    }
    if (there === null) fchmod(fd, action.mode & 0o777);
    const mtimeNs = action.timestampNs ?? madeTimeNs;
    if (mtimeNs !== null) utimensat(fd, null, mtimeNs, mtimeNs);
  } finally {
    close(fd);
  }
}
const EXISTING = O.WRONLY | O.TRUNC | O.NOFOLLOW | O.NONBLOCK;

function makeSymlink(
  place: Place,
  action: ActionOf<"symlink">,
  owner: Owner | null,
  madeTimeNs: bigint | null,
): void {
  const path = place.resolve(bytesOf(action.path));
  if (place.tree.lstat(path) !== null) {
    throw new BuildError("COPY_FAILED", `symlink ${action.target} ${shown(path)}: file exists`);
  }
  place.makeSymlink(path, bytesOf(action.target));
  const mtimeNs = action.timestampNs ?? madeTimeNs;
  place.dress(path, { owner: owner ?? ROOT, mode: 0o777, mtimeNs, xattrs: [] }, "symlink");
}

function remove(place: Place, action: ActionOf<"rm">): void {
  const asked = bytesOf(action.path);
  if (cleanPath(asked) === "") throw new BuildError("COPY_FAILED", "the root directory cannot be removed");
  // The directory is resolved, what is removed is the name in it: a link goes, not what it points to.
  const paths = action.allowWildcard
    ? findMatches(place.tree, { src: action.path, allowWildcard: true, followSymlink: false }).map(
        (match) => match.path,
      )
    : [joinPath(resolvePath(place.tree, parentOf(cleanPath(asked)), true), baseOf(cleanPath(asked)))];
  for (const path of paths) {
    if (!place.remove(path) && !action.allowNotFound) {
      throw new BuildError("COPY_FAILED", `stat ${shown(path)}: no such file or directory`);
    }
  }
}
