// A directory of this machine to the other side of a call, in fsutil's packets: a listing, then contents on request (fsutil, send.go).
// Asked for by FileSync.DiffCopy of a client, and sent by FileSend.DiffCopy of the exporter "local".

import { closeSync, readSync } from "node:fs";
import { filterTree } from "../../cache/tree-filter.ts";
import { followPaths } from "../../cache/tree-follow.ts";
import { type Child, joinPath, textOf, type TreeReader } from "../../cache/tree.ts";
import { type LiveTree, liveTree } from "../../cache/tree-live.ts";
import type { FileRules } from "../../solver/graph/session.ts";
import { goMode } from "./fsutil-mode.ts";
import {
  dataPacket,
  decodePacket,
  endPacket,
  PACKET,
  type PacketCall,
  type Stat,
  statPacket,
} from "./packets.ts";
import { CODE, RpcError } from "./status.ts";

/** What is not larger goes as one piece: 1 MiB halves the CPU of BuildKit's 32 KiB. */
const PIECE_BYTES = 1 << 20;
/** Entries of a listing that are written together. */
const LISTED_AT_ONCE = 200;

interface Sent {
  readonly path: string; // byte string
  readonly isFile: boolean;
  isAsked: boolean;
}

export interface SendOptions {
  /** What is sent; left out: everything. */
  readonly rules?: FileRules;
  /** Modes as git keeps them. */
  readonly gitModes?: boolean;
}

/** Sends what is in the directory `root`: no link is followed out of it. A socket is an empty file, devices are left out. Throws RpcError. */
export async function sendFiles(call: PacketCall, root: string, options: SendOptions = {}): Promise<void> {
  const live = liveTree(root, () => null);
  try {
    const sent = await sendListing(call, treeOf(live, options));
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    const outbox = openOutbox(call);
    for await (const batch of call.batches()) {
      for (const bytes of batch) {
        const { type, ID, data } = decodePacket(bytes);
        if (type === PACKET.err)
          throw new RpcError(CODE.UNKNOWN, `error from receiver: ${Buffer.from(data).toString()}`);
        if (type === PACKET.fin) {
          await outbox.flush();
          await call.send(endPacket());
          call.end();
          if (call.isAnswer === true) return;
          continue;
        }
        const file = sent[ID];
        if (type !== PACKET.req || file?.isFile !== true || file.isAsked)
          throw new RpcError(CODE.INVALID_ARGUMENT, "something was asked for that is no file, or twice");
        file.isAsked = true;
        await sendContent(outbox, ID, open(live, file.path), buffer);
      }
    }
  } finally {
    live.close();
  }
}

/** What the rules select, and what links on the way of followed paths lead to. */
function treeOf(live: LiveTree, { rules, gitModes = false }: SendOptions): TreeReader {
  if (rules === undefined) return live;
  const { includes, excludes, follow } = rules;
  const followed = follow.length === 0 ? [] : followPaths(live, follow);
  const isAll = followed === null || includes.length + followed.length === 0;
  // Followed paths that lead nowhere select nothing.
  const chosen = isAll ? (follow.length === 0 ? includes : []) : [...includes, ...followed];
  return filterTree(live, { includes: chosen, excludes, gitModes });
}

async function sendListing(call: PacketCall, tree: TreeReader): Promise<Sent[]> {
  const sent: Sent[] = [];
  const links = new Map<string, string>();
  let pending: Uint8Array[] = [];
  for (const { path, child } of walk(tree, "")) {
    const stat = statOf(tree, path, child, links);
    pending.push(statPacket(stat));
    const isFile = (child.stat.type === "file" && stat.linkname === "") || child.stat.type === "socket";
    sent.push({ path, isFile, isAsked: false });
    if (pending.length < LISTED_AT_ONCE) continue;
    await call.sendAll(pending);
    pending = [];
  }
  pending.push(statPacket(null));
  await call.sendAll(pending);
  return sent;
}

/** null: it has vanished, or has become something else; its content is empty then. */
function open(tree: LiveTree, path: string): number | null {
  try {
    return tree.open(path);
  } catch (error) {
    const { code } = error as { readonly code?: string };
    // ENXIO: a socket, open(2).
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENXIO", "CONTEXT_CHANGED"].includes(code ?? "")) return null;
    throw new RpcError(CODE.UNKNOWN, `open ${textOf(path)}: ${(error as Error).message}`, [], error);
  }
}

async function sendContent(outbox: Outbox, ID: number, fd: number | null, buffer: Buffer): Promise<void> {
  try {
    for (;;) {
      const count = fd === null ? 0 : readSync(fd, buffer, 0, buffer.length, null);
      if (count > 0 && outbox.put(dataPacket(ID, buffer.subarray(0, count)))) await outbox.flush(); // copies
      if (count === buffer.length) continue;
      if (outbox.put(dataPacket(ID, NOTHING))) await outbox.flush();
      return;
    }
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

/** Packets that wait to be sent together: small files are asked for one by one, and a write of each costs more than its bytes. */
interface Outbox {
  /** true: it is full, to be flushed now. */
  put(packet: Uint8Array): boolean;
  flush(): Promise<void>;
}
const OUTBOX_MAX_BYTES = 256 << 10;

function openOutbox(call: PacketCall): Outbox {
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  let timer: NodeJS.Immediate | null = null;
  const flush = async (): Promise<void> => {
    if (timer !== null) clearImmediate(timer);
    timer = null;
    const packets = waiting;
    waiting = [];
    bytes = 0;
    await call.sendAll(packets);
  };
  return {
    put(packet) {
      waiting.push(packet);
      bytes += packet.length;
      // Nobody may ask for more before this has come. What is wrong with the call is told to who reads it.
      timer ??= setImmediate(() => void flush().catch(() => {}));
      return bytes >= OUTBOX_MAX_BYTES;
    },
    flush,
  };
}
const NOTHING = new Uint8Array(0);

/** Depth first, names of one directory in the order of their bytes. */
function* walk(
  tree: TreeReader,
  directory: string,
): Generator<{ readonly path: string; readonly child: Child }> {
  for (const child of tree.children(directory)) {
    const { type } = child.stat;
    if (type === "character" || type === "block") continue;
    const path = joinPath(directory, child.name);
    yield { path, child };
    if (type === "directory") yield* walk(tree, path);
  }
}

/** `links`: the first name of each file that has several; the others are sent as links to it. */
function statOf(tree: TreeReader, path: string, { stat }: Child, links: Map<string, string>): Stat {
  // As BuildKit's clients have it: fsutil, stat.go.
  const type = stat.type === "socket" ? "file" : (stat.type as "file" | "directory" | "symlink" | "fifo");
  const inode = stat.type === "file" && stat.nlink > 1 ? `${stat.dev} ${stat.ino}` : null;
  const first = inode === null ? undefined : links.get(inode);
  if (inode !== null && first === undefined) links.set(inode, textOf(path));
  return {
    path: textOf(path),
    mode: goMode(type, stat.mode),
    size: stat.type === "file" && first === undefined ? stat.size : 0,
    modTime: stat.mtimeNs,
    linkname: type === "symlink" ? textOf(tree.readlink(path)) : (first ?? ""),
  };
}
