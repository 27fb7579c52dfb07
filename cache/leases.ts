// Leases: what running processes hold against collection. One file for each open store, owners/<owner>.leases, to which lines are
// only appended; the file counts as long as its owner lives. No record: a lease ends with its process, so it needs no disk
// flush, and write(2) makes it visible to the collector in microseconds.
//
//   "l <lease> <layer id>"   "b <lease> <digest>"   "- <lease>"
//
// Collector and holder cannot miss each other. The holder first writes its line, then looks whether the thing is there. The
// collector first makes the thing unfindable, then reads the lines, and puts back what it finds leased. Whatever the
// order in time, one of the two sees the other. A last line without its end is of a write(2) not yet returned.
//
// What takes over from a lease is a record, an image name say. A lease therefore ends only when the records written before are
// visible to others, and the collector reads leases before names: one of the two it sees.

import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Digest } from "../solver/graph/digest.ts";
import type { LayerId } from "../solver/graph/request.ts";
import { errnoOf, onDisk } from "./disk-fault.ts";
import type { Owner } from "./owner.ts";
import type { Lease } from "./store.ts";

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

/** A daemon's file starts anew after that much, when it holds nothing. */
const FILE_MAX_BYTES = 2 ** 18;
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
  let active = 0;
  let serial = 0;

  function append(lines: readonly string[]): void {
    if (lines.length === 0) return;
    const text = Buffer.from(`${lines.join("\n")}\n`);
    onDisk("noting a lease", () => {
      descriptor ??= openSync(path, "a", 0o600);
      // One write: a lease is there as a whole or not.
      if (writeSync(descriptor, text) !== text.length) throw new Error("short write to the lease file");
    });
    bytes += text.length;
  }

  /** A new file in place of the long one, never a truncated one: a reader in the middle of it would miss lines. */
  function renew(): void {
    if (active > 0 || bytes < FILE_MAX_BYTES || descriptor === null) return;
    const next = openSync(`${path}.new`, "ax", 0o600);
    renameSync(`${path}.new`, path);
    closeSync(descriptor);
    descriptor = next;
    bytes = 0;
  }

  function lease(): Lease {
    const id = serial++;
    let held = false;
    let ended = false;
    function add(lines: readonly string[]): void {
      if (ended) throw new Error("lease used after it ended");
      if (!held) active++;
      held = true;
      append(lines);
    }
    return {
      addLayers: (ids) => add(ids.map((layer) => `l ${id} ${layer}`)),
      addBlobs: (digests) => add(digests.map((digest) => `b ${id} ${digest}`)),
      async [Symbol.asyncDispose]() {
        if (ended) return;
        ended = true;
        const release = (): void => {
          if (!held || descriptor === null) return; // closed: the file is gone with all that is in it
          append([`- ${id}`]);
          active--;
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

interface Held {
  readonly kind: "l" | "b";
  readonly what: string;
}

function readLeases(path: string): Held[] {
  let text: string;
  try {
    text = readFileSync(path, "latin1");
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return []; // its owner has just closed
    throw error;
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
