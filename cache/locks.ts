// Locks across all processes of a store, without flock(2), which Node does not have.
//
// A held lock is a symbolic link locks/<hash of the key> whose target is the holder and one acquisition:
// "<owner>/<number>". symlink(2) creates link and target in one step or fails with EEXIST, so there is never a half-written
// lock and at most one of many takers wins. The holder removes it with unlink(2).
//
// Taking over from a dead holder, and why there are never two winners:
//   1. A taker reads target T and finds T's owner dead. That is final: an owner's id contains its start time and is
//      never reused.
//   2. It enters alone(), lmdb's write lock: a robust mutex in shared memory which the kernel releases when its holder dies. So
//      at most one process is between 3 and 4.
//   3. It reads the target again. While it is still T, nobody can change the link: symlink(2) fails as long as it exists, its
//      holder is dead, and other takers wait for alone(). If it is not T, another taker was faster: start again.
//   4. It unlinks the link and leaves alone(). A kill between 3 and 4 leaves the link unchanged.
//   5. All compete with symlink(2) again.

import { createHash } from "node:crypto";
import { readdirSync, readlinkSync, symlinkSync, unlinkSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { describeProcess, type Owner } from "./owner.ts";
import { setAside } from "./set-aside.ts";
import type { WaitOptions } from "./contract.ts";

export interface Locks extends AsyncDisposable {
  /** As Store.exclusively(). */
  exclusively<T>(key: string, work: () => Promise<T>, options: WaitOptions): Promise<T>;
  /** The same without a promise about records: free as soon as the work is done. */
  briefly<T>(key: string, work: () => Promise<T>, options: WaitOptions): Promise<T>;
  /** Removes locks of dead owners. */
  sweep(): Promise<void>;
}

type Work<T> = () => Promise<T>;

export interface LocksOptions {
  readonly dir: string; // exists
  readonly quarantine: string;
  readonly owner: Owner;
  /** See RecordsFile.alone(). */
  readonly alone: (work: () => void) => void;
  /** Resolves when what was written so far is visible to others. The lock is kept that long, but the one who worked does not wait
   *  for it: so a lock costs no disk flush of its own, and who comes next finds the records. */
  readonly visible: () => Promise<void>;
}

/** Events come at once; the poll is for a holder that died, and for file systems without inotify(7). */
const POLL_MS = 50;
/** A wait of that long is told. */
const TELL_AFTER_MS = 1_500;
/** A holder stopped for that long does not keep others from work that may be done twice. */
const STOPPED_MAX_MS = 10_000;
/** What holderOf() says of something that is no link. No owner has that name, so it counts as one of a dead process. */
export const NO_LOCK = "";

export function openLocks(options: LocksOptions): Locks {
  const { dir, owner } = options;
  let acquisitions = 0;
  /** Last in line for each key in this process. */
  const lines = new Map<string, Promise<unknown>>();

  async function inLine<T>(key: string, work: Work<T>, wait: WaitOptions, linger: boolean): Promise<T> {
    const { signal } = wait;
    signal.throwIfAborted();
    const before = lines.get(key) ?? Promise.resolve();
    const { promise: result, resolve, reject } = deferred<T>();
    // The place in line is given up only when the lock is free.
    const turn = (async () => {
      await before;
      try {
        signal.throwIfAborted();
        await locked(key, work, wait, linger, resolve);
      } catch (error) {
        reject(error);
      }
    })();
    lines.set(key, turn);
    // A turn never rejects: its outcome is in `result`.
    void turn.then(() => {
      if (lines.get(key) === turn) lines.delete(key);
    });
    // Aborted in line: rejects at once, the turn passes when it comes.
    return await Promise.race([result, rejectsWhileWaiting(before, signal)]);
  }

  async function locked<T>(
    key: string,
    work: Work<T>,
    wait: WaitOptions,
    linger: boolean,
    done: (value: T) => void,
  ): Promise<void> {
    const path = join(dir, createHash("sha256").update(key).digest("hex").slice(0, 40));
    const isHeld = await acquire(path, wait);
    try {
      done(await work());
      if (linger) await options.visible();
    } finally {
      if (isHeld) unlinkSync(path);
    }
  }

  /** False: work that may be done twice goes on without the lock, whose holder is stopped. */
  async function acquire(path: string, wait: WaitOptions): Promise<boolean> {
    const { signal } = wait;
    // Short enough to lie in the inode (ext4: 59 bytes), so that a lock takes no block of a full disk.
    const text = `${owner.id}/${(++acquisitions).toString(36)}`;
    const watch = watchHolder(wait);
    for (;;) {
      signal.throwIfAborted();
      if (take(path, text)) return true;
      const holder = holderOf(path);
      if (holder === null) continue; // released between the two calls
      if (!(await owner.isAlive(ownerIn(holder)))) breakLock(path, holder);
      else if (watch(ownerIn(holder))) return false;
      // The directory is watched: a watch on the link itself would follow it.
      else await changeIn(dir, () => holderOf(path) !== holder, signal);
    }
  }

  function breakLock(path: string, stale: string): void {
    options.alone(() => {
      if (holderOf(path) !== stale) return;
      if (stale === NO_LOCK) setAside(path, options.quarantine);
      else unlinkSync(path);
    });
  }

  async function sweep(): Promise<void> {
    for (const name of readdirSync(dir)) {
      const path = join(dir, name);
      const holder = holderOf(path);
      if (holder !== null && !(await owner.isAlive(ownerIn(holder)))) breakLock(path, holder);
    }
  }

  return {
    exclusively: (key, work, wait) => inLine(key, work, wait, true),
    briefly: (key, work, wait) => inLine(key, work, wait, false),
    sweep,
    async [Symbol.asyncDispose]() {
      await Promise.all(lines.values());
    },
  };
}

/** Makes the link; false when there is one. It takes no room on the disk, so that a full one can still be tidied up. */
export function take(path: string, text: string): boolean {
  return onDisk("taking a lock", dirname(path), () => {
    try {
      symlinkSync(text, path);
      return true;
    } catch (error) {
      if (errnoOf(error) === "EEXIST") return false;
      throw error;
    }
  });
}

/** The text of a lock's link; null: nobody holds it. */
export function holderOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return null;
    if (errnoOf(error) === "EINVAL") return NO_LOCK; // no link: readlink(2)
    throw error;
  }
}

/** For who waits, at each look: tells who holds it, and anew when that changes. True: the holder has been stopped for so long that
 *  work which may be done twice is to go on. */
export function watchHolder(wait: Pick<WaitOptions, "onWait" | "sparesWork">): (holder: string) => boolean {
  const begunMs = performance.now();
  let stoppedMs: number | null = null;
  let told: string | null = null;
  return (holder) => {
    const now = performance.now();
    if (now - begunMs < TELL_AFTER_MS) return false;
    const process = describeProcess(holder);
    stoppedMs = process?.stopped === true ? (stoppedMs ?? now) : null;
    const goesOn = wait.sparesWork === true && stoppedMs !== null && now - stoppedMs > STOPPED_MAX_MS;
    const words = `${process?.words ?? "a process of another container"}${goesOn ? "; going on without it" : ""}`;
    if (words !== told) wait.onWait?.(words);
    told = words;
    return goesOn;
  };
}

function ownerIn(holder: string): string {
  return holder.slice(0, holder.indexOf("/"));
}

/** Resolves when something in `dir` has changed so that `isOver()`, and in any case after POLL_MS. */
export function changeIn(dir: string, isOver: () => boolean, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, POLL_MS);
    const watcher = watchQuietly(dir, () => {
      if (isOver()) done();
    });
    signal.addEventListener("abort", aborted, { once: true });
    // Between the caller's look and the watch.
    if (isOver()) done();

    function stop(): void {
      clearTimeout(timer);
      watcher?.close();
      signal.removeEventListener("abort", aborted);
    }
    function done(): void {
      stop();
      resolve();
    }
    function aborted(): void {
      stop();
      reject(signal.reason);
    }
  });
}

/** null when the system has no watches left (fs.inotify.max_user_instances): the poll does it then. */
function watchQuietly(dir: string, onEvent: () => void): { close(): void } | null {
  try {
    const watcher = watch(dir, onEvent);
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return null;
  }
}

/** Rejects when the signal aborts before `line` settles; never resolves. */
function rejectsWhileWaiting(line: Promise<unknown>, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(signal.reason);
    const forget = () => signal.removeEventListener("abort", onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    line.then(forget, forget);
  });
}

function deferred<T>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
} {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
