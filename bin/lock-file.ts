// The lock file of a build: where it is, what it says, and how it is written. docs/locks.md.

import { realpathSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { Store } from "../cache/contract.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { ParsedFlags } from "./args.ts";
import type { BuildRequest } from "./engine/request.ts";
import { EMPTY_LOCK, type Lock, type LockTerms, mergeLocks } from "./engine/lock.ts";
import { formatLock, LOCK_MAX_BYTES, parseLock } from "./engine/lock-document.ts";
import { readGiven } from "./given-file.ts";

export const LOCK_NAME = "tsbuild.lock";

/** Where context and Dockerfile are. */
export type BuildPlace = Pick<BuildRequest, "context" | "dockerfile">;

export interface Reading {
  readonly cwd: string;
  readonly signal: AbortSignal;
}

export interface LockFile {
  readonly path: string;
  /** For messages: as seen from the working directory. */
  readonly shown: string;
  /** What it says; null: it is not there. */
  readonly lock: Lock | null;
}

/** The lock of `tsbuild build`: --lock[=FILE] or --locked[=FILE]; null: neither was given. Throws USAGE, FILE_INVALID, and OUTPUT_*
 *  where a new one cannot be written. */
export async function lockOfBuild(
  flags: ParsedFlags,
  place: BuildPlace,
  reading: Reading,
): Promise<{ readonly file: LockFile; readonly terms: LockTerms } | null> {
  const isFrozen = flags.has("locked");
  if (!isFrozen && !flags.has("lock")) return null;
  const named = [...new Set([...flags.all("lock"), ...flags.all("locked")])].filter((name) => name !== "");
  if (named.length > 1)
    throw new BuildError("USAGE", `a build has one lock file: ${named.join(", ")} were given`);
  const file = await readLockFile(named[0] ?? null, place, reading);
  if (isFrozen && file.lock === null)
    throw new BuildError("FILE_INVALID", `--locked: there is no lock file ${file.shown}`, {
      hint: "'tsbuild update' writes it",
    });
  // It will be written: what cannot be is said before the first step, and before anything is pushed.
  if (file.lock === null) (await import("../exporters/writable.ts")).checkFile(file.path);
  const entries = file.lock ?? EMPTY_LOCK;
  return { file, terms: { file: file.shown, entries, mode: isFrozen ? "frozen" : "add" } };
}

/** `name`: as given, relative to the working directory; null: beside the Dockerfile, or in the context where that is no file of this machine.
 *  Throws USAGE, FILE_INVALID, LIMIT_EXCEEDED. */
export async function readLockFile(
  name: string | null,
  place: BuildPlace,
  { cwd, signal }: Reading,
): Promise<LockFile> {
  const path = name === null ? defaultPath(place) : resolve(cwd, name);
  const near = relative(cwd, path);
  const shown = name ?? (near.startsWith("..") ? path : near);
  return { path, shown, lock: await readLock(path, shown, signal) };
}

function defaultPath({ context, dockerfile }: BuildPlace): string {
  if (dockerfile.kind === "path" && context.kind === "directory")
    return join(dirname(dockerfile.path), LOCK_NAME);
  if (context.kind === "directory") return join(context.path, LOCK_NAME);
  throw new BuildError(
    "USAGE",
    "there is no place for a lock file: context and Dockerfile come from elsewhere",
    {
      hint: "name it: --lock=FILE, --locked=FILE, or --lock FILE for 'tsbuild update'",
    },
  );
}

async function readLock(path: string, shown: string, signal: AbortSignal): Promise<Lock | null> {
  let data: Buffer;
  try {
    data = await readGiven(path, LOCK_MAX_BYTES, signal);
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof BuildError) throw cause;
    const { code = "" } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    throw new BuildError("FILE_INVALID", `the lock file ${shown} cannot be read (${code})`, { cause });
  }
  return parseLock(data.toString("utf8"), shown);
}

/** Adds what a build used to its lock file, unless all of it is there. Other builds may have added to it meanwhile; those of the same store
 *  take turns, so that none loses what another has written. Returns what is to be told the user, a line each. Throws CONTEXT_CHANGED,
 *  OUTPUT_FAILED. */
export async function addToLock(
  file: LockFile,
  used: Lock,
  { store, signal }: { readonly store: Pick<Store, "exclusively">; readonly signal: AbortSignal },
): Promise<readonly string[]> {
  return await store.exclusively(turnOf(file), () => addEntries(file, used, signal), { signal });
}

/** Writes what `change` makes of a lock file as it is then (null: it is not there), unless that is null. Builds and updates of the same store
 *  take turns. Throws FILE_INVALID, OUTPUT_FAILED. */
export async function rewriteLock(
  file: LockFile,
  change: (now: Lock | null) => Lock | null,
  { store, signal }: { readonly store: Pick<Store, "exclusively">; readonly signal: AbortSignal },
): Promise<void> {
  const work = async (): Promise<void> => {
    const after = change(await readLock(file.path, file.shown, signal));
    if (after !== null) await writeLock(file.path, formatLock(after), signal);
  };
  await store.exclusively(turnOf(file), work, { signal });
}

function turnOf({ path }: LockFile): string {
  return `lock file ${explicitPath(path)}`;
}

/** One name for a file that several lead to. */
function explicitPath(path: string): string {
  for (const [start, rest] of [
    [path, ""],
    [dirname(path), basename(path)],
  ] as const) {
    try {
      return join(realpathSync(start), rest);
    } catch {
      // not there yet
    }
  }
  return path;
}

async function addEntries(
  { path, shown }: LockFile,
  used: Lock,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const now = await readLock(path, shown, signal);
  checkSame(shown, used.images, now?.images, ({ digest }) => digest);
  checkSame(shown, used.urls, now?.urls, String);
  checkSame(shown, used.git, now?.git, String);
  const before = now ?? EMPTY_LOCK;
  const merged = mergeLocks(before, used);
  const text = formatLock(merged);
  if (now !== null && text === formatLock(now)) return [];
  await writeLock(path, text, signal);
  const added = sizeOf(merged) - sizeOf(before);
  const local = [...used.images].filter(([key, { isLocal }]) => isLocal && !before.images.has(key));
  return [
    added === 0 && now === null
      ? `${shown}: written; the build refers to nothing that can be locked`
      : `${shown}: ${added === 0 ? "platforms" : added} added`,
    ...local.map(
      ([key]) =>
        `WARNING: ${shown}: ${key} is only in the local image store: nobody else can build with this entry`,
    ),
  ];
}

/** Throws CONTEXT_CHANGED for what the file says something else of than this build. */
function checkSame<T>(
  shown: string,
  used: ReadonlyMap<string, T>,
  now: ReadonlyMap<string, T> | undefined,
  valueOf: (entry: T) => string,
): void {
  for (const [key, entry] of used) {
    const other = now?.get(key);
    if (other === undefined || valueOf(other) === valueOf(entry)) continue;
    throw new BuildError(
      "CONTEXT_CHANGED",
      `${shown}: ${key} was locked to ${valueOf(other)} during this build`,
      { hint: "run the build again" },
    );
  }
}

function sizeOf({ images, urls, git }: Lock): number {
  return images.size + urls.size + git.size;
}

/** Throws OUTPUT_FAILED. Links are followed. */
async function writeLock(path: string, text: string, signal: AbortSignal): Promise<void> {
  const { writeOutput } = await import("../exporters/file-output.ts");
  await writeOutput({ kind: "path", path }, once(Buffer.from(text)), { signal, client: null });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
