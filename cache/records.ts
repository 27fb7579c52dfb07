// Records: small values by key in one lmdb file. The only importer of lmdb.
//
// Writes are buffered in memory, where this process reads them, and committed together: one transaction for all writes within
// COMMIT_DELAY_MS or until commit() or flush() is called. A commit is lmdb's plain, synchronous one: pages, fdatasync(2), meta page.
// It is atomic for killed processes and power cuts, and needs no new disk space: that is reserved before
// (records-file.ts), and failures are thrown here. A commit takes 0.3 ms on an SSD that does not really flush and 1 to
// 10 ms on one that does, which is why a small build should have one, at its end.
//
// There is no cache of decoded values: a read with a fresh snapshot takes 1 µs, and a snapshot per read
// is what makes other processes' commits visible.

import { existsSync, unlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { RootDatabase } from "lmdb";
import { BuildError } from "../solver/graph/error.ts";
import { diskFault, errnoOf } from "./disk-fault.ts";
import { holderOf, NO_LOCK, take } from "./locks.ts";
import { describeProcess, hasEnded, thisProcess } from "./owner.ts";
import {
  type DatabaseStats,
  lengthen,
  looksWhole,
  makeFiles,
  makeRoom,
  MAP_BYTES,
  pagesFor,
  READERS,
  SYNCHRONOUS,
} from "./records-file.ts";
import { kindOf, lookAt, setAside } from "./set-aside.ts";
import type { ReadRecord } from "./records-file.ts";
import type { Records } from "./contract.ts";

export interface RecordsFile extends Records, AsyncDisposable {
  /** Runs `work` while no other process is inside alone() or a commit. The kernel frees the lock of a killed process. */
  alone(work: () => void): void;
  /** What others read. */
  committed<T>(space: string, key: string): T | null;
  /** Forgets what is pending: it could not be written. */
  abandon(): void;
  /** Are there writes that others cannot see yet? */
  hasPending(): boolean;
  /** Resolves after the next commit, which comes by itself; at once when nothing is pending. */
  nextCommit(): Promise<void>;
}

export interface RecordsOptions {
  /** Where a damaged database is put aside. */
  readonly quarantine: string;
  /** Runs before each commit: makes durable what the records name. */
  readonly beforeCommit: () => void;
  /** Runs inside each commit for every record it changes, when all are written. */
  readonly inCommit: (space: string, key: string, read: ReadRecord) => void;
  /** Commits are for giving space back, and may use what is kept for that. */
  readonly tidying: boolean;
  /** Told what had to be set aside. */
  readonly mended: (what: string) => void;
}

const COMMIT_DELAY_MS = 50;
const KEY_MAX_BYTES = 1900; // lmdb-js: 1978 with 4 KiB pages

/** Step from what was there to what shall be there. */
type Step = (old: Uint8Array | null) => Uint8Array | null;
interface Change {
  readonly steps: readonly Step[];
  /** What this process reads meanwhile. */
  readonly view: Uint8Array | null;
}

/** Opens (or makes) dir/data.mdb. A file that is no database any more is set aside and an empty one made: all it held but image names
 *  (image-names.ts) can be made again. Throws STORE_FULL, STORE_UNUSABLE. */
export function openRecords(dir: string, options: RecordsOptions): RecordsFile {
  const path = join(dir, "data.mdb");
  const db = openOrSetAside(path, options);

  const pending = new Map<string, Change>();
  let waiting: (() => void)[] = [];
  let timer: NodeJS.Timeout | null = null;
  let closed = false;

  function read(key: string): Uint8Array | null {
    const change = pending.get(key);
    return change === undefined ? readCommitted(key) : change.view;
  }

  function readCommitted(key: string): Uint8Array | null {
    return judged(() => {
      db.resetReadTxn();
      return db.getBinary(Buffer.from(key)) ?? null;
    });
  }

  /** Runs a read or a commit; damage of the file is found here, and its consequence drawn. */
  function judged<T>(work: () => T): T {
    if (closed) throw new Error("the store has been closed");
    try {
      return work();
    } catch (error) {
      if (!isDamage(error)) throw diskFault(error, "accessing its database", dir);
      putAway(path, options.quarantine); // the next open starts with an empty one
      throw new BuildError("STORE_CORRUPT", "the store's database is damaged and has been set aside", {
        cause: error,
        hint: "run the command again: image names are kept, the build cache is lost",
      });
    }
  }

  function stage(key: string, steps: readonly Step[], view: Uint8Array | null): void {
    if (closed) throw new Error("the store has been closed");
    if (Buffer.byteLength(key) > KEY_MAX_BYTES) throw new Error(`record key too long: ${key.slice(0, 80)}`);
    pending.set(key, { steps, view });
    timer ??= setTimeout(() => {
      try {
        send();
      } catch {
        // All stays pending: the next commit(), flush() or dispose meets the same fault and throws it to its caller.
      }
    }, COMMIT_DELAY_MS);
  }

  function set(key: string, value: Uint8Array | null): void {
    stage(key, [() => value], value);
  }

  /** All that is pending in one transaction, or none of it. */
  function send(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (pending.size > 0) {
      options.beforeCommit();
      judged(() =>
        transact(() => {
          const writes = [...pending].map(([name, change]) => {
            const key = Buffer.from(name);
            let value: Uint8Array | null = db.getBinary(key) ?? null;
            for (const step of change.steps) value = step(value);
            return { key, value };
          });
          const sizes = writes.map(({ key, value }) => (value === null ? null : key.length + value.length));
          const stats = db.getStats() as DatabaseStats;
          makeRoom(path, stats, pagesFor(stats, sizes), options.tidying);
          for (const { key, value } of writes) {
            if (value === null) db.removeSync(key);
            else db.putSync(key, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
          }
          for (const name of pending.keys()) {
            const end = name.indexOf("\0");
            options.inCommit(name.slice(0, end), name.slice(end + 1), (space, key) =>
              decode(db.getBinary(Buffer.from(`${space}\0${key}`)) ?? null),
            );
          }
        }),
      );
      pending.clear();
    }
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  }

  function transact(work: () => void): void {
    inTurn(path, options.quarantine, () => db.transactionSync(work, SYNCHRONOUS));
  }

  async function commit(): Promise<void> {
    send();
  }

  function* entries<T>(space: string): Generator<{ readonly key: string; readonly value: T }> {
    const prefix = `${space}\0`;
    const found = new Map<string, Uint8Array | null>();
    judged(() => {
      db.resetReadTxn();
      const range = db.getRange({ start: Buffer.from(prefix), end: Buffer.from(`${space}\x01`) });
      for (const entry of range) found.set(String(entry.key), Buffer.from(entry.value as Buffer));
    });
    for (const [key, change] of pending) if (key.startsWith(prefix)) found.set(key, change.view);
    for (const [key, bytes] of found) {
      const value = decode<T>(bytes);
      if (value !== null) yield { key: key.slice(prefix.length), value };
    }
  }

  return {
    get: (space, key) => decode(read(`${space}\0${key}`)),
    put: (space, key, value) => set(`${space}\0${key}`, encode(value)),
    remove: (space, key) => set(`${space}\0${key}`, null),
    batch(changes) {
      // One turn of the event loop: all in the same `pending`, so in the same transaction.
      for (const { space, key, value } of changes)
        set(`${space}\0${key}`, value === null ? null : encode(value));
    },
    merge<T>(space: string, key: string, change: (old: T | null) => T | null) {
      const name = `${space}\0${key}`;
      const step: Step = (old) => {
        const value = change(decode<T>(old));
        return value === null ? null : encode(value);
      };
      const view = step(read(name));
      const before = pending.get(name)?.steps ?? [];
      stage(name, [...before, step], view);
      return decode<T>(view);
    },
    entries,
    commit,
    flush: commit,
    committed: (space, key) => decode(readCommitted(`${space}\0${key}`)),
    abandon: () => pending.clear(),
    hasPending: () => pending.size > 0,
    nextCommit: () =>
      pending.size === 0 ? Promise.resolve() : new Promise((resolve) => void waiting.push(resolve)),
    alone: (work) => judged(() => transact(work)),
    async [Symbol.asyncDispose]() {
      if (closed) return;
      try {
        send();
      } finally {
        closed = true;
        if (timer !== null) clearTimeout(timer);
        for (const wake of waiting) wake();
        if (existsSync(dir))
          inTurn(path, options.quarantine, () => void db.close()); // it closes before it returns
        else await db.close();
      }
    },
  };
}

function openOrSetAside(path: string, options: RecordsOptions): RootDatabase<Buffer, Buffer> {
  const { quarantine } = options;
  const putAwayAndTell = (why: string): void => {
    putAway(path, quarantine);
    options.mended(`db/data.mdb: ${why}; set aside`);
  };
  return inTurn(path, quarantine, () => {
    const stranger = ["", "-lock"]
      .map((suffix) => lookAt(path + suffix))
      .find((stat) => stat?.isFile() === false);
    if (stranger) putAwayAndTell(`was ${kindOf(stranger)}, not a file`);
    // Looked at before lmdb does: lmdb-js 3.5 ends the process with SIGSEGV when the file is not a database.
    else if (!looksWhole(path)) putAwayAndTell("was not a database");
    makeFiles(path);
    const db = open(path);
    try {
      if (lengthen(db, path))
        for (const _ of db.getRange()); // reads every page
      else db.getBinary(Buffer.from("store"));
      return db;
    } catch (error) {
      void db.close(); // it closes before it returns
      if (!isDamage(error)) throw diskFault(error, "opening its database", dirname(path));
    }
    putAwayAndTell("was damaged");
    makeFiles(path);
    return open(path);
  });
}

/** A turn takes some milliseconds, seconds where the disk is busy. Of a process that cannot be looked for (another container's),
 *  one this old was that of a process that was killed. */
const TURN_MAX_MS = 10_000;
/** Looks, a millisecond apart, between two at who holds the turn. */
const LOOKS = 20;
/** The wait holds the thread, so no signal is heard meanwhile: it ends by itself, soon where the holder is stopped. */
const STOPPED_MAX_MS = 2_000;
const WAIT_MAX_MS = 120_000;
let turns = 0;

/**
 * Opens, commits and closes come one at a time, over all processes. lmdb's own lock does not know of opens, and lmdb-js 3.5 sets
 * the number of the last transaction back to what it was when an open began (mdb.c, mdb_env_open2): what was committed
 * meanwhile is overwritten by the next commit. Of several that make a database one starts again what another has written to; and
 * who closes last destroys the mutexes in the lock file, also for one that waits to open it. A turn is a link like those of locks.ts,
 * but that of a killed process is taken over without lmdb's lock, which may not be there yet: two that do so in the same microseconds
 * may both go on, as they would without turns. `work` must end without giving up the thread.
 */
function inTurn<T>(path: string, quarantine: string, work: () => T): T {
  const turn = `${path}-turn`;
  const own = `${thisProcess()}/${++turns}`;
  let begunMs: number | null = null;
  for (let look = 1; !take(turn, own); look++) {
    begunMs ??= Date.now();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    if (look % LOOKS !== 0) continue;
    const holder = holderOf(turn);
    if (holder === null) continue;
    if (holder === NO_LOCK) setAside(turn, quarantine);
    else if (isStale(turn, holder)) giveTurn(turn, holder);
    else giveUp(holder, Math.abs(Date.now() - begunMs));
  }
  try {
    return work();
  } finally {
    giveTurn(turn, own);
  }
}

function giveUp(holder: string, waitedMs: number): void {
  const process = describeProcess(processIn(holder));
  if (waitedMs < (process?.stopped === true ? STOPPED_MAX_MS : WAIT_MAX_MS)) return;
  const who = process?.words ?? "a process of another container";
  throw new BuildError("STORE_UNUSABLE", `the store's database is still being written to by ${who}`, {
    hint: "resume that process (SIGCONT) or end it, and run the command again",
  });
}

const processIn = (holder: string): string => holder.split("/")[0] ?? "";

function isStale(turn: string, holder: string): boolean {
  const ended = hasEnded(processIn(holder));
  if (ended !== null) return ended;
  const taken = lookAt(turn);
  return taken !== null && Math.abs(Date.now() - taken.mtimeMs) > TURN_MAX_MS;
}

function giveTurn(turn: string, holder: string): void {
  if (holderOf(turn) !== holder) return; // taken for that of a killed process, or the whole store is gone
  try {
    unlinkSync(turn);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw diskFault(error, "closing its database", dirname(turn));
  }
}

function open(path: string): RootDatabase<Buffer, Buffer> {
  // require(), not import(): the package's CommonJS form is one file and loads in 25 ms, its modules in 45.
  const lmdb = createRequire(import.meta.url)("lmdb") as typeof import("lmdb");
  const db = lmdb.open<Buffer, Buffer>({
    path,
    encoding: "binary",
    keyEncoding: "binary",
    maxDbs: 1,
    mapSize: MAP_BYTES,
    maxReaders: READERS,
    overlappingSync: false,
  });
  return db;
}

/** lmdb's ways to say that the file is not (any more) a database: MDB_PAGE_NOTFOUND, CORRUPTED, PANIC, VERSION_MISMATCH, INVALID. */
function isDamage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code: unknown = (error as { code?: unknown }).code;
  if (code === -30797 || code === -30796 || code === -30795 || code === -30794 || code === -30793)
    return true;
  return /MDB_(PAGE_NOTFOUND|CORRUPTED|PANIC|VERSION_MISMATCH|INVALID)\b/.test(error.message);
}

/** Renaming both files lets processes that have them open go on with what they see, to the side. */
function putAway(path: string, quarantine: string): void {
  for (const suffix of ["", "-lock"]) setAside(path + suffix, quarantine);
}

// JSON text never begins with a zero byte: that marks bytes stored as they are.
function encode(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) return Buffer.from(JSON.stringify(value));
  const bytes = Buffer.allocUnsafe(value.length + 1);
  bytes[0] = 0;
  bytes.set(value, 1);
  return bytes;
}

function decode<T>(bytes: Uint8Array | null): T | null {
  if (bytes === null) return null;
  if (bytes[0] === 0) return new Uint8Array(bytes.subarray(1)) as T;
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as T;
  } catch (error) {
    // A damaged value is as good as none: what it stood for is made again.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
