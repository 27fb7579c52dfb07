// git sources: a ref is pinned to a commit, which is fetched without history and checked out as a layer. Uses the machine's git.

import { closeSync } from "node:fs";
import { join } from "node:path";
import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import { type Digest, digestOf, hexOf } from "../../solver/graph/digest.ts";
import type { SourceOp } from "../../solver/graph/op.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { Session } from "../../solver/graph/session.ts";
import { openAnswers, type Tasks } from "../../solver/graph/tasks.ts";
import {
  moveIn,
  namesIn,
  openDirectory,
  openDirectoryIn,
  setTimesIn,
  statIn,
  unlinkIn,
  writeAll,
  writeWholeIn,
} from "../../cache/outside.ts";
import {
  chooseCommit,
  type Commit,
  type GitAddress,
  knownCommit,
  listArguments,
  parseAddress,
} from "./git-refs.ts";
import { gitCredentials, plainRemote, runGit, type Sink } from "./git-run.ts";
import { type GitIn, readTree, updateSubmodules } from "./git-submodules.ts";
import type { Pin } from "../contract.ts";
import type { Store } from "../../cache/contract.ts";

/** Ref to commit; what the server said of it is the log of `vertex`. Throws SOURCE_FAILED with git's words. */
export async function pinGit(op: SourceOp, vertex: Digest, store: Store, context: GitContext): Promise<Pin> {
  const address = parseAddress(op);
  const { found, told } = await resolve(address, store, context);
  if (found.name !== "" && !told.has(vertex)) {
    told.add(vertex);
    const data = Buffer.from(`${found.object}\t${printable(found.name)}\n`);
    context.emit({ kind: "log", vertex, atMs: Date.now(), fd: 1, data });
  }
  return { digest: pinDigest(address, found), result: null, material: found.commit };
}

/** All that the files depend on: a tag and a branch at the same commit are the same, unless .git is kept. */
function pinDigest(address: GitAddress, found: Commit): Digest {
  const { subdir, submodules, commitTimes, keepGitDir } = address;
  const kept = keepGitDir && subdir === "" ? [found.object, ...found.keptNames] : null;
  return digestOf(
    JSON.stringify(["tsbuild.git.v3", found.commit, subdir, submodules, commitTimes, keepGitDir, kept]),
  );
}

interface Resolved {
  readonly found: Commit;
  /** Vertices whose log has it. */
  readonly told: Set<Digest>;
}

/** A ref is one commit for all of a build, whatever is pushed meanwhile: asked once for each session. */
const resolved = new WeakMap<Session, Tasks<Resolved>>();

function resolve(address: GitAddress, store: Store, context: GitContext): Promise<Resolved> {
  const { session, signal } = context;
  const answers = resolved.get(session) ?? openAnswers<Resolved>();
  resolved.set(session, answers);
  const key = JSON.stringify([address.remote, address.ref, address.checksum, address.fetchByCommit]);
  return answers.share(key, signal, async (shared) => ({
    found: await ask(address, store, { ...context, signal: shared }),
    told: new Set<Digest>(),
  }));
}

async function ask(address: GitAddress, store: Store, context: GitContext): Promise<Commit> {
  const known = knownCommit(address);
  if (known !== null) return known;
  const run = openGit(address, store.tempDir(), store, context);
  return chooseCommit(address, await run(listArguments(address)));
}

/** A layer with the tree of the commit (or a folder of it) in its root. */
export async function fetchGit(op: SourceOp, store: Store, context: GitContext): Promise<LayerId> {
  const address = parseAddress(op);
  const { found } = await resolve(address, store, context);
  await using active = store.layers.prepare();
  // Removed when it is left, also where names are longer than a path may be.
  await using checkout = store.layers.prepare();
  const root = openDirectory(checkout.upper);
  try {
    const run = openGit(address, checkout.upper, store, context);
    await using whole = wholeRepository(address, found, store, context);
    const { commit, seconds } = await checkOut(address, found, run, root, whole);
    for (const known of new Set([commit, found.object])) store.records.put("git-time", known, seconds);
    const from = openSubdirectory(root, address.subdir);
    const to = openDirectory(active.upper);
    try {
      // As BuildKit: what .git speaks of is the whole repository, so it stays with the whole only.
      const isKept = (name: string): boolean =>
        name !== ".git" || address.subdir !== "" || address.keepGitDir;
      for (const name of namesIn(from)) {
        if (isKept(name.toString())) moveIn(from, name, to);
      }
      if (address.commitTimes) setTimesIn(to, seconds);
    } finally {
      closeSync(from);
      closeSync(to);
    }
  } finally {
    closeSync(root);
  }
  const record = active.commit({
    unpacked: true,
    createdAtMs: Date.now(),
    description: `${redactUrl(address.remote)} ${found.commit.slice(0, 12)}`,
  });
  return record.id;
}

/** The repository and its submodules in the directory of `run`, which `root` is open at. */
async function checkOut(
  address: GitAddress,
  found: Commit,
  run: Git,
  root: number,
  whole: WholeRepository,
): Promise<{ readonly commit: string; readonly seconds: number }> {
  const { keepGitDir, submodules } = address;
  const commit = await fetchCommit(address, found, run, { whole });
  const inside = (fd: number) => (args: readonly string[], sink?: Sink) => run(args, sink, fd);
  const paths = await readTree(inside(root), commit);
  await run(["-c", "advice.detachedHead=false", "checkout", "-q", commit]);
  if (submodules) await updateSubmodules(root, paths, inside, keepGitDir ? forgetMachine : async () => {});
  const seconds = await timeOf(commit, run);
  if (keepGitDir) {
    await forgetMachine(run);
    const git = openDirectoryIn(root, ".git");
    try {
      for (const name of ["FETCH_HEAD", "ORIG_HEAD"]) unlinkIn(git, name);
    } finally {
      closeSync(git);
    }
  }
  return { commit, seconds };
}

/** What a .git directory tells of who made it, and when: names and times in its logs, inodes and owners in its index. */
async function forgetMachine(run: GitIn): Promise<void> {
  await run(["reflog", "expire", "--all", "--expire=now"]);
  await run(["read-tree", "HEAD"]);
}

/** Makes a repository that has what was asked for, by its digest so that it cannot be another by now. The commit of it. */
async function fetchCommit(
  address: GitAddress,
  found: Commit,
  run: Git,
  how: {
    /** Options for less than all of the commit. */
    readonly less?: readonly string[];
    /** Where all of the repository goes first when .git is kept; omitted: it is not. */
    readonly whole?: WholeRepository;
  },
): Promise<string> {
  const { object } = found;
  const names = address.keepGitDir ? found.keptNames : [];
  const format = object.length === 64 ? ["--object-format=sha256"] : [];
  await run(["-c", "init.defaultBranch=master", "init", "-q", ...format]);
  await run(["remote", "add", "--", "origin", plainRemote(address.remote)]);
  const refspecs = names.length === 0 ? [object] : names.map((name) => `${object}:${name}`);
  const single = [...FETCH, "--depth=1", ...(how.less ?? [])];
  try {
    await run([...single, "--", "origin", ...refspecs]);
  } catch (error) {
    if (!mayServeWhole(error)) throw error;
    // A server that gives no single commits, or plain files (gitprotocol-http(5), "Dumb Server"): everything, then. What is kept
    // is still the commit alone, as from any other server.
    if (address.keepGitDir && how.whole !== undefined) {
      const from = await how.whole.fetched();
      await run([...single, "--", from, ...refspecs], undefined, undefined, true);
    } else await fetchAll(found, run);
  }
  // A tag that was moved since leaves its commit behind, on a branch; where .git is not kept, no more is needed.
  const enough = names.length === 0 ? new Set([object, found.commit]) : [object];
  let fault: unknown = null;
  for (const digest of enough) {
    try {
      return (await run(["rev-parse", "--verify", "-q", `${digest}^{commit}`])).trim();
    } catch (cause) {
      fault ??= cause;
    }
  }
  const message = `repository ${redactUrl(address.remote)} does not contain commit ${object}`;
  throw new BuildError("SOURCE_FAILED", message, { cause: fault });
}

const FETCH = ["fetch", "-q", "-u", "--no-tags"];

async function fetchAll({ name }: Commit, run: Git): Promise<void> {
  // A fetch of less that was refused has made the server one that is asked for each missing object, by a process each
  // (git-config(1), remote.<name>.promisor).
  for (const setting of ["promisor", "partialclonefilter"])
    await run(["config", "--unset-all", `remote.origin.${setting}`]).catch(() => {}); // not there
  const own = name === "" ? [] : [`+${name}:refs/tsbuild/asked`];
  const all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
  await run([...FETCH, "--", "origin", ...all, ...own]);
  if (own.length > 0) await run(["update-ref", "-d", "refs/tsbuild/asked"]);
}

/** All of a repository in a directory of the store, once somebody asks for it; goes when it is disposed. */
interface WholeRepository extends AsyncDisposable {
  /** Its path. */
  fetched(): Promise<string>;
}

function wholeRepository(
  address: GitAddress,
  found: Commit,
  store: Store,
  context: GitContext,
): WholeRepository {
  let place: ReturnType<Store["layers"]["prepare"]> | null = null;
  return {
    async fetched() {
      place = store.layers.prepare();
      const run = openGit(address, place.upper, store, context);
      const format = found.object.length === 64 ? ["--object-format=sha256"] : [];
      await run(["init", "-q", "--bare", ...format]);
      await run(["remote", "add", "--", "origin", plainRemote(address.remote)]);
      await fetchAll(found, run);
      // The commit is asked for by its digest, whatever names lead to it.
      await run(["config", "uploadpack.allowAnySHA1InWant", "true"]);
      return place.upper;
    },
    async [Symbol.asyncDispose]() {
      await place?.[Symbol.asyncDispose]();
    },
  };
}

/** Whether all of the repository may be had where one commit is not. */
function mayServeWhole(error: unknown): boolean {
  return (
    error instanceof BuildError &&
    error.code === "SOURCE_FAILED" &&
    !/not finished within/.test(error.message)
  );
}

async function timeOf(commit: string, run: Git): Promise<number> {
  return Number((await run(["log", "-1", "--format=%ct", commit])).trim());
}

/** A directory of the checkout, reached without links as BuildKit demands. */
function openSubdirectory(root: number, subdir: string): number {
  try {
    return openDirectoryIn(root, subdir);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (!["ENOENT", "ENOTDIR", "ELOOP"].includes(code ?? "")) throw cause;
    throw new BuildError(
      "SOURCE_FAILED",
      `subdir ${JSON.stringify(subdir)} is not a directory of the repository`,
      {
        cause,
        hint:
          code === "ENOENT"
            ? null
            : "a part of it is a symbolic link or a file; use the path of the directory itself",
      },
    );
  }
}

/** Time of the commit behind a git source, epoch seconds. Throws SOURCE_FAILED. */
export async function gitTime(op: SourceOp, store: Store, context: GitContext): Promise<number> {
  const address = parseAddress(op);
  const { found } = await resolve(address, store, context);
  const known = store.records.get<number>("git-time", found.commit);
  if (known !== null) return known;
  const seconds = await withCommitAlone(address, found, { store, context }, timeOf);
  store.records.put("git-time", found.commit, seconds);
  return seconds;
}

/** Fetches a commit without its files, and has `work` look at it. */
async function withCommitAlone<T>(
  address: GitAddress,
  found: Commit,
  { store, context }: { readonly store: Store; readonly context: GitContext },
  work: (commit: string, run: Git) => Promise<T>,
): Promise<T> {
  await using checkout = store.layers.prepare();
  const run = openGit(address, checkout.upper, store, context);
  const less = ["--filter=tree:0"];
  return await work(await fetchCommit({ ...address, keepGitDir: false }, found, run, { less }), run);
}

/** What a git source stands for. The objects are as git has them (git-cat-file(1)); null: not asked for, or there is no tag object. */
export interface GitMetadata extends Commit {
  readonly commitObject: Uint8Array | null;
  readonly tagObject: Uint8Array | null;
}

/** Asks the server what the source's ref is, and has the objects fetched if they are wanted. Throws SOURCE_FAILED. */
export async function describeGit(
  op: SourceOp,
  store: Store,
  context: GitContext,
  { objects }: { readonly objects: boolean },
): Promise<GitMetadata> {
  const address = parseAddress(op);
  const { found } = await resolve(address, store, context);
  if (!objects) return { ...found, commitObject: null, tagObject: null };
  return await withCommitAlone(address, found, { store, context }, async (commit, run) => {
    const read = async (kind: "commit" | "tag", object: string): Promise<Uint8Array> => {
      const pieces: Buffer[] = [];
      await run(["cat-file", kind, object], (piece) => pieces.push(piece) > 0);
      return Buffer.concat(pieces);
    };
    const commitObject = await read("commit", commit);
    const tagObject = found.object === commit ? null : await read("tag", found.object);
    return { ...found, commit, commitObject, tagObject };
  });
}

/** What git needs of the machine besides: variables with proxies and authorities. */
export interface GitContext extends CallContext {
  readonly variables: () => Promise<Readonly<Record<string, string>>>;
}

/** git in a directory, or in another by its descriptor. */
type Git = (
  args: readonly string[],
  sink?: Sink,
  directory?: number,
  isLocal?: boolean, // see GitPlace
) => Promise<string>;

/** git in a directory, with what the address says of the client's secrets and agents. */
function openGit(
  address: GitAddress,
  cwd: string,
  store: Store,
  { signal, session, variables }: GitContext,
): Git {
  let settings: Promise<Record<string, string>> | null = null;
  return async (args, sink, directory, isLocal = false) => {
    const credentials = await (settings ??= gitCredentials(address, session, (text) =>
      knownHostsFile(text, store),
    ));
    const env = isLocal ? {} : await variables();
    return runGit(args, { cwd: directory ?? cwd, signal, credentials, variables: env, isLocal }, sink);
  };
}

/** The lines in a file among the temporary ones of this process. */
async function knownHostsFile(text: string, store: Store): Promise<string> {
  const directory = store.tempDir();
  const name = `known-hosts-${hexOf(digestOf(text))}`;
  const fd = openDirectory(directory);
  try {
    if (statIn(fd, name) === null)
      await writeWholeIn(fd, name, (file) =>
        writeAll(file, Buffer.from(text.endsWith("\n") ? text : `${text}\n`)),
      );
  } finally {
    closeSync(fd);
  }
  return join(directory, name);
}
