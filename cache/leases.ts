// Leases: keep data used by running processes from collection. One file per open store, owners/<owner>.leases, to which lines are
// only appended; the file is valid as long as its owner lives. Not a record: a lease ends with its process, so it needs no disk
// flush, and write(2) makes it visible to the collector in microseconds.
//
//   "l <lease> <layer id>"   "b <lease> <digest>"   "- <lease>"
//
// Collector and holder cannot miss each other. The holder first writes its line, then checks whether the data exists. The
// collector first makes the data unfindable, then reads the lines, and restores what is leased. In any
// order, one of the two sees the other. A last line without its end belongs to a write(2) that has not returned yet.
//
// A lease is replaced by a record, for example an image name. Therefore it ends only when the records written before are
// visible to others, and the collector reads leases before names: it sees one of the two.

import { closeSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../solver/graph/digest.ts";
import { BuildError } from "../solver/graph/error.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import { readFileOf } from "./outside.ts";
import type { Owner } from "./owner.ts";
import type { Lease } from "./contract.ts";

export interface Pinned {
  readonly layers: ReadonlySet<LayerId>;
  readonly blobs: ReadonlySet<Digest>;
  /** Some process holds something: work goes on in this store. */
  readonly busy: boolean;
}

export interface Leases {
  lease(): Lease;
  /** What live owners hold now, this process included. */
  pinned(): Promise<Pinned>;
  /** Ends all leases of this store. */
  close(): void;
}

/** The file of a process that lives long starts again after that much, or twice what it holds then. */
const FILE_MAX_BYTES = 2 ** 18;
/** Some millions of lines that are all held are no reason to stop. */
const READ_MAX_BYTES = 2 ** 28;
const SUFFIX = ".leases";

/** `dir` exists. The file is made with the first lease. `visible`: null when all records written are visible to others, else
 *  resolves when they are. */
export function openLeases(
  dir: string,
  owner: Owner,
  visible: () => Promise<void> | null = () => null,
): Leases {
  const path = join(dir, owner.id + SUFFIX);
  let descriptor: number | null = null;
  let bytes = 0;
  let renewAtBytes = FILE_MAX_BYTES;
  let serial = 0;
  /** Lines of the leases that are held. */
  const held = new Map<number, string[]>();

  function append(lines: readonly string[]): void {
    if (lines.length === 0) return;
    onDisk("noting a lease", dir, () => {
      descriptor ??= openSync(path, "a", 0o600);
      bytes += writeLines(descriptor, lines);
    });
  }

  /** A new file with what is held in place of the long one, never a truncated one: a reader in the middle of it would miss lines. One
   *  that has the old file open misses what is added from now on, as if it had read a moment earlier. */
  function renew(): void {
    if (bytes < renewAtBytes || descriptor === null) return;
    const next = openSync(`${path}.new`, "ax", 0o600);
    try {
      const lines = [...held.values()].flat();
      const written = lines.length === 0 ? 0 : writeLines(next, lines);
      renameSync(`${path}.new`, path);
      bytes = written;
    } catch {
      // A disk that is full, say: the long file does as well.
      closeSync(next);
      rmSync(`${path}.new`, { force: true });
      renewAtBytes = bytes * 2;
      return;
    }
    closeSync(descriptor);
    descriptor = next;
    renewAtBytes = Math.max(FILE_MAX_BYTES, bytes * 2);
  }

  function lease(): Lease {
    const id = serial++;
    let ended = false;
    function add(lines: readonly string[]): void {
      if (ended) throw new Error("lease used after it ended");
      append(lines);
      const own = held.get(id);
      if (own === undefined) held.set(id, [...lines]);
      else own.push(...lines);
    }
    return {
      addLayers: (ids) => add(ids.map((layer) => `l ${id} ${layer}`)),
      addBlobs: (digests) => add(digests.map((digest) => `b ${id} ${digest}`)),
      async [Symbol.asyncDispose]() {
        if (ended) return;
        ended = true;
        const release = (): void => {
          if (!held.delete(id) || descriptor === null) return; // closed: the file is gone with all that is in it
          append([`- ${id}`]);
          renew();
        };
        const later = visible();
        if (later === null) release();
        else void later.then(release); // nobody waits for it: what the lease holds it may hold a moment longer
      },
    };
  }

  async function pinned(): Promise<Pinned> {
    const layers = new Set<LayerId>();
    const blobs = new Set<Digest>();
    let busy = false;
    for (const name of readdirSync(dir)) {
      if (!name.endsWith(SUFFIX)) continue;
      if (!(await owner.isAlive(name.slice(0, -SUFFIX.length)))) continue;
      const held = readLeases(join(dir, name));
      busy ||= held.length > 0;
      for (const { kind, what } of held) {
        if (kind === "l") layers.add(what as LayerId);
        else blobs.add(what as Digest);
      }
    }
    return { layers, blobs, busy };
  }

  function close(): void {
    if (descriptor !== null) closeSync(descriptor);
    descriptor = null;
    rmSync(path, { force: true });
  }

  return { lease, pinned, close };
}

/** One write: lines are there as a whole or not. Returns their bytes. */
function writeLines(descriptor: number, lines: readonly string[]): number {
  const text = Buffer.from(`${lines.join("\n")}\n`);
  if (writeSync(descriptor, text) !== text.length) throw new Error("short write to the lease file");
  return text.length;
}

interface Held {
  readonly kind: "l" | "b";
  readonly what: string;
}

function readLeases(path: string): Held[] {
  let text: string;
  try {
    text = readFileOf(path, READ_MAX_BYTES).toString("latin1");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return []; // its owner has just closed
    if (!(error instanceof BuildError) && errnoOf(error) !== "EISDIR") throw error;
    // What it holds is not known, so nothing may be removed.
    throw new BuildError("STORE_UNUSABLE", `${path} lists what a running build uses, and cannot be read`, {
      cause: error,
      hint: "wait until that build ends, or stop it",
    });
  }
  const leases = new Map<string, Held[]>();
  for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) {
    const [kind, lease = "", what = ""] = line.split(" ");
    if (kind === "-") leases.delete(lease);
    else if (kind === "l" || kind === "b") {
      const held = leases.get(lease);
      if (held === undefined) leases.set(lease, [{ kind, what }]);
      else held.push({ kind, what });
    }
  }
  return [...leases.values()].flat();
}
