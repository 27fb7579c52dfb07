// Files of a client over FileSync.DiffCopy: a listing, then contents on request. The order of packets is that of fsutil (receive.go).

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { FileEntry, FilePiece, FileTransfer } from "../../solver/graph/session.ts";
import { permissionsOf, typeOf } from "./fsutil-mode.ts";
import { type Packet, Packet_PacketType as TYPE, PacketSchema } from "./messages/fsutil/types/wire_pb.ts";
import type { PacketCall } from "./packets.ts";
import { CODE, RpcError } from "./status.ts";

/** Contents asked for ahead of the file that is being read: small files would wait a round trip each. */
const AHEAD_MAX_BYTES = 8 << 20;
const AHEAD_MAX_FILES = 64;
/** What may pile up of them when files have grown meanwhile. */
const PENDING_MAX_BYTES = 64 << 20;

/** A transfer over a call that has begun. Throws RpcError for what its other side says and does wrong. */
export function receiveFiles(call: PacketCall): FileTransfer {
  const packets = call.messages();
  const sizes: number[] = [];
  let phase: "listing" | "contents" | "over" = "listing";

  async function next(): Promise<Packet> {
    const { done, value } = await packets.next();
    if (done === true) throw new RpcError(CODE.UNAVAILABLE, "the client ended the transfer too early");
    const packet = fromBinary(PacketSchema, value);
    if (packet.type === TYPE.PACKET_ERR)
      throw new RpcError(CODE.UNKNOWN, `error from sender: ${Buffer.from(packet.data).toString()}`);
    return packet;
  }
  const send = (packet: Partial<Pick<Packet, "type" | "ID">>): Promise<void> =>
    call.send(toBinary(PacketSchema, create(PacketSchema, packet)));

  async function* listing(): AsyncGenerator<FileEntry, void, undefined> {
    for (;;) {
      const { type, stat } = await next();
      if (type !== TYPE.PACKET_STAT) throw new RpcError(CODE.INVALID_ARGUMENT, "a listing was expected");
      if (stat === undefined) break;
      const { path, mode, linkname } = stat;
      const size = Number(stat.size);
      sizes.push(size);
      const kind = typeOf(mode, linkname);
      const linkName = kind === "symlink" || kind === "hardlink" ? linkname : "";
      yield { path, type: kind, mode: permissionsOf(mode), size, mtimeNs: stat.modTime, linkName };
    }
    phase = "contents";
  }

  async function* contents(wanted: readonly number[]): AsyncGenerator<FilePiece, void, undefined> {
    const pending = new Map<number, (Uint8Array | null)[]>();
    let pendingBytes = 0;
    let asked = 0;
    let aheadBytes = 0;
    /** Asks for `at` and what may come ahead behind it. */
    const ask = async (at: number): Promise<void> => {
      while (asked < wanted.length) {
        const index = wanted[asked] as number;
        const size = sizes[index] ?? 0;
        const isFirst = asked === at;
        if (!isFirst && (asked - at >= AHEAD_MAX_FILES || aheadBytes + size > AHEAD_MAX_BYTES)) return;
        aheadBytes += size;
        asked++;
        pending.set(index, []);
        await send({ type: TYPE.PACKET_REQ, ID: index });
      }
    };
    for (const [at, index] of wanted.entries()) {
      await ask(at);
      const pieces = pending.get(index) ?? [];
      for (;;) {
        const piece = pieces.shift();
        if (piece === undefined) {
          const { type, ID, data } = await next();
          const of = pending.get(ID);
          if (type !== TYPE.PACKET_DATA || of === undefined)
            throw new RpcError(CODE.INVALID_ARGUMENT, "contents were expected");
          of.push(data.length === 0 ? null : data);
          pendingBytes += data.length;
          if (pendingBytes > PENDING_MAX_BYTES)
            throw new RpcError(CODE.RESOURCE_EXHAUSTED, "the client sends more than it was asked for");
          continue;
        }
        pendingBytes -= piece?.length ?? 0;
        yield { index, data: piece };
        if (piece === null) break;
      }
      pending.delete(index);
      aheadBytes -= sizes[index] ?? 0;
    }
  }

  return {
    listing,
    contents,
    async [Symbol.asyncDispose]() {
      if (phase === "contents") {
        phase = "over";
        try {
          await send({ type: TYPE.PACKET_FIN });
          call.end();
          for (;;) if ((await next()).type === TYPE.PACKET_FIN) break;
          if (call.isAnswer !== true) for await (const _ of packets); // to the end of the call
          return;
        } catch {
          // It has what it needs; or it failed, which has been told.
        }
      }
      call.cancel();
    },
  };
}
