// A directory of this machine to a client: fsutil with the roles swapped (FileSend.DiffCopy of the exporter "local").

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { closeSync, readSync } from "node:fs";
import { type Child, joinPath, textOf } from "../../cache/tree.ts";
import { type LiveTree, liveTree } from "../../cache/tree-live.ts";
import type { OpenCall } from "./client.ts";
import { goMode } from "./fsutil-mode.ts";
import { type Stat, StatSchema } from "./messages/fsutil/types/stat_pb.ts";
import { Packet_PacketType as TYPE, PacketSchema } from "./messages/fsutil/types/wire_pb.ts";
import { CODE, RpcError } from "./status.ts";

const PIECE_BYTES = 1 << 20;

interface Sent {
  readonly path: string; // byte string
  readonly isFile: boolean;
}

/** Sends what is in the directory `root`. Sockets and devices are left out. Throws RpcError. */
export async function sendFiles(call: OpenCall, root: string): Promise<void> {
  const tree = liveTree(root, () => null);
  try {
    const sent: Sent[] = [];
    const links = new Map<string, string>();
    for (const { path, child } of walk(tree, "")) {
      const stat = statOf(tree, path, child, links);
      await call.send(toBinary(PacketSchema, create(PacketSchema, { type: TYPE.PACKET_STAT, stat })));
      sent.push({ path, isFile: child.stat.type === "file" && stat.linkname === "" });
    }
    await call.send(toBinary(PacketSchema, create(PacketSchema, { type: TYPE.PACKET_STAT })));
    for await (const bytes of call.messages()) {
      const { type, ID, data } = fromBinary(PacketSchema, bytes);
      if (type === TYPE.PACKET_ERR)
        throw new RpcError(CODE.UNKNOWN, `error from receiver: ${Buffer.from(data).toString()}`);
      if (type === TYPE.PACKET_FIN) {
        await call.send(toBinary(PacketSchema, create(PacketSchema, { type: TYPE.PACKET_FIN })));
        call.end();
        continue;
      }
      const file = sent[ID];
      if (type !== TYPE.PACKET_REQ || file?.isFile !== true)
        throw new RpcError(CODE.INVALID_ARGUMENT, "the client asked for something that is no file");
      await sendContent(call, ID, tree.open(file.path));
    }
  } finally {
    tree.close();
  }
}

async function sendContent(call: OpenCall, ID: number, fd: number): Promise<void> {
  try {
    for (;;) {
      const buffer = Buffer.allocUnsafe(PIECE_BYTES);
      const count = readSync(fd, buffer, 0, buffer.length, null);
      const data = buffer.subarray(0, count);
      await call.send(toBinary(PacketSchema, create(PacketSchema, { type: TYPE.PACKET_DATA, ID, data })));
      if (count === 0) return;
    }
  } finally {
    closeSync(fd);
  }
}

/** Depth first, names of one directory in the order of their bytes. */
function* walk(
  tree: LiveTree,
  directory: string,
): Generator<{ readonly path: string; readonly child: Child }> {
  for (const child of tree.children(directory)) {
    const { type } = child.stat;
    if (type !== "file" && type !== "directory" && type !== "symlink" && type !== "fifo") continue;
    const path = joinPath(directory, child.name);
    yield { path, child };
    if (type === "directory") yield* walk(tree, path);
  }
}

/** `links`: the first name of each file that has several; the others are sent as links to it. */
function statOf(tree: LiveTree, path: string, { stat }: Child, links: Map<string, string>): Stat {
  const type = stat.type as "file" | "directory" | "symlink" | "fifo";
  const inode = type === "file" && stat.nlink > 1 ? `${stat.dev} ${stat.ino}` : null;
  const first = inode === null ? undefined : links.get(inode);
  if (inode !== null && first === undefined) links.set(inode, textOf(path));
  return create(StatSchema, {
    path: textOf(path),
    mode: goMode(type, stat.mode),
    size: BigInt(type === "file" && first === undefined ? stat.size : 0),
    modTime: stat.mtimeNs,
    linkname: type === "symlink" ? textOf(tree.readlink(path)) : (first ?? ""),
  });
}
