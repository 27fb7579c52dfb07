// Files of a client over FileSync.DiffCopy: a listing, then contents on request. The order of packets is that of fsutil (receive.go).

import type { FileEntry, FilePiece, FileTransfer } from "../../solver/graph/session.ts";
import { permissionsOf, typeOf } from "./fsutil-mode.ts";
import { decodePacket, endPacket, type Packet, PACKET, type PacketCall, requestPacket } from "./packets.ts";
import { CODE, RpcError } from "./status.ts";

/** Contents asked for ahead of the file that is being read: small files would wait a round trip each. */
const AHEAD_MAX_BYTES = 8 << 20;
const AHEAD_MAX_FILES = 256;
/** What may pile up of them when files have grown meanwhile. */
const PENDING_MAX_BYTES = 64 << 20;
/** What a piece costs beside its bytes: they may come one by one. */
const PIECE_BYTES = 256;

/** A transfer over a call that has begun. Throws RpcError for what its other side says and does wrong. */
export function receiveFiles(call: PacketCall): FileTransfer {
  const batches = call.batches();
  const sizes: number[] = [];
  let phase: "listing" | "contents" | "over" = "listing";
  /** What came with the end of the listing. */
  let rest: readonly Uint8Array[] = [];

  async function next(): Promise<readonly Uint8Array[]> {
    if (rest.length > 0) {
      const held = rest;
      rest = [];
      return held;
    }
    const { done, value } = await batches.next();
    if (done === true) throw new RpcError(CODE.UNAVAILABLE, "the client ended the transfer too early");
    return value;
  }
  function read(bytes: Uint8Array): Packet {
    const packet = decodePacket(bytes);
    if (packet.type === PACKET.err)
      throw new RpcError(CODE.UNKNOWN, `error from sender: ${Buffer.from(packet.data).toString()}`);
    return packet;
  }

  async function* listing(): AsyncGenerator<readonly FileEntry[], void, undefined> {
    while (phase === "listing") {
      const entries: FileEntry[] = [];
      const batch = await next();
      for (const [at, bytes] of batch.entries()) {
        const { type, stat } = read(bytes);
        if (type !== PACKET.stat) throw new RpcError(CODE.INVALID_ARGUMENT, "a listing was expected");
        if (stat === null) {
          phase = "contents";
          rest = batch.slice(at + 1);
          break;
        }
        const { path, mode, size, modTime, linkname } = stat;
        sizes.push(size);
        const kind = typeOf(mode, linkname);
        const linkName = kind === "symlink" || kind === "hardlink" ? linkname : "";
        entries.push({ path, type: kind, mode: permissionsOf(mode), size, mtimeNs: modTime, linkName });
      }
      yield entries;
    }
  }

  async function* contents(wanted: readonly number[]): AsyncGenerator<readonly FilePiece[], void, undefined> {
    const pending = new Map<number, (Uint8Array | null)[]>();
    let pendingBytes = 0;
    let asked = 0;
    let aheadBytes = 0;
    /** The one of them that is being read. */
    let at = 0;
    /** Asks for it and what may come ahead behind it. */
    const ask = async (): Promise<void> => {
      const requests: Uint8Array[] = [];
      while (asked < wanted.length) {
        const index = wanted[asked] as number;
        const size = sizes[index] ?? 0;
        const isFirst = asked === at;
        if (!isFirst && (asked - at >= AHEAD_MAX_FILES || aheadBytes + size > AHEAD_MAX_BYTES)) break;
        aheadBytes += size;
        asked++;
        pending.set(index, []);
        requests.push(requestPacket(index));
      }
      await call.sendAll(requests);
    };
    /** What can be told by now, in the order asked. */
    const take = (): readonly FilePiece[] => {
      const taken: FilePiece[] = [];
      for (; at < wanted.length; at++) {
        const index = wanted[at] as number;
        const pieces = pending.get(index);
        if (pieces === undefined) break;
        pending.set(index, []);
        for (const data of pieces) {
          taken.push({ index, data });
          pendingBytes -= PIECE_BYTES + (data?.length ?? 0);
        }
        if (pieces.at(-1) !== null) break;
        pending.delete(index);
        aheadBytes -= sizes[index] ?? 0;
      }
      return taken;
    };
    await ask();
    while (at < wanted.length) {
      for (const bytes of await next()) {
        const { type, ID, data } = read(bytes);
        const of = pending.get(ID);
        if (type !== PACKET.data || of === undefined || of.at(-1) === null)
          throw new RpcError(CODE.INVALID_ARGUMENT, "contents were expected");
        of.push(data.length === 0 ? null : data);
        pendingBytes += PIECE_BYTES + data.length;
        if (pendingBytes > PENDING_MAX_BYTES)
          throw new RpcError(CODE.RESOURCE_EXHAUSTED, "the client sends more than it was asked for");
      }
      const taken = take();
      await ask();
      if (taken.length > 0) yield taken;
    }
  }

  return {
    listing,
    contents,
    async [Symbol.asyncDispose]() {
      if (phase === "contents") {
        phase = "over";
        try {
          await call.send(endPacket());
          call.end();
          while (!(await next()).some((bytes) => read(bytes).type === PACKET.fin));
          if (call.isAnswer !== true) for await (const _ of batches); // to the end of the call
          return;
        } catch {
          // It has what it needs; or it failed, which has been told.
        }
      }
      call.cancel();
    },
  };
}
