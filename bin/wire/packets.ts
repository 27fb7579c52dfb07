// What a transfer of files needs of a call, on either side of it, and its packets: written and read by hand, since a directory of 20,000 files
// has 80,000 of them, each of which costs a general decoder four times as much.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Call } from "./server.ts";
import { CODE, RpcError } from "./status.ts";

export interface PacketCall {
  send(message: Uint8Array): Promise<void>;
  /** Several at once: a listing has thousands of small ones. */
  sendAll(messages: readonly Uint8Array[]): Promise<void>;
  batches(): AsyncGenerator<readonly Uint8Array[], void, undefined>;
  /** No more messages follow. */
  end(): void;
  /** Ends the call without waiting for its other side. */
  cancel(): void;
  /** This side answers the call, and ends it: the other one may wait for that. */
  readonly isAnswer?: boolean;
}

/** A call that is answered: it ends when its handler does. */
export function answered(call: Call): PacketCall {
  return {
    send: (message) => call.send(message),
    sendAll: (messages) => call.sendAll(messages),
    batches: () => call.batches(),
    end() {},
    cancel() {},
    isAnswer: true,
  };
}

// fsutil's Packet, and what of its Stat is used here (fsutil/types/wire.proto and stat.proto).

/** type; an enum. */
export const PACKET = { stat: 0, req: 1, data: 2, fin: 3, err: 4 } as const;

export interface Stat {
  readonly path: string;
  readonly mode: number; // as Go's os.FileMode
  readonly size: number;
  readonly modTime: bigint; // ns
  readonly linkname: string;
}

export interface Packet {
  readonly type: number;
  /** null: the end of the listing. */
  readonly stat: Stat | null;
  readonly ID: number;
  readonly data: Uint8Array;
}

const PACKET_FIELD = { type: 1, stat: 2, ID: 3, data: 4 } as const;
const STAT_FIELD = { path: 1, mode: 2, size: 5, modTime: 6, linkname: 7 } as const;
const NOTHING = new Uint8Array(0);

/** Throws RpcError for what is no packet. */
export function decodePacket(bytes: Uint8Array): Packet {
  try {
    return readPacket(new BinaryReader(bytes));
  } catch (error) {
    throw new RpcError(CODE.INVALID_ARGUMENT, "not a packet", [], error);
  }
}

function readPacket(reader: BinaryReader): Packet {
  let type = 0;
  let stat: Stat | null = null;
  let ID = 0;
  let data: Uint8Array = NOTHING;
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === PACKET_FIELD.type && wire === WireType.Varint) type = reader.int32();
    else if (field === PACKET_FIELD.stat && wire === WireType.LengthDelimited)
      stat = readStat(new BinaryReader(reader.bytes()));
    else if (field === PACKET_FIELD.ID && wire === WireType.Varint) ID = reader.uint32();
    else if (field === PACKET_FIELD.data && wire === WireType.LengthDelimited) data = reader.bytes();
    else reader.skip(wire, field);
  }
  return { type, stat, ID, data };
}

function readStat(reader: BinaryReader): Stat {
  let path = "";
  let mode = 0;
  let size = 0;
  let modTime = 0n;
  let linkname = "";
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === STAT_FIELD.path && wire === WireType.LengthDelimited) path = reader.string();
    else if (field === STAT_FIELD.mode && wire === WireType.Varint) mode = reader.uint32();
    else if (field === STAT_FIELD.size && wire === WireType.Varint) size = Number(reader.int64());
    else if (field === STAT_FIELD.modTime && wire === WireType.Varint) modTime = BigInt(reader.int64());
    else if (field === STAT_FIELD.linkname && wire === WireType.LengthDelimited) linkname = reader.string();
    else reader.skip(wire, field);
  }
  return { path, mode, size, modTime, linkname };
}

/** PACKET_STAT: an entry of the listing; null: its end. */
export function statPacket(stat: Stat | null): Uint8Array {
  const writer = new BinaryWriter();
  if (stat === null) return writer.finish();
  writer.tag(PACKET_FIELD.stat, WireType.LengthDelimited).fork();
  writer.tag(STAT_FIELD.path, WireType.LengthDelimited).string(stat.path);
  writer.tag(STAT_FIELD.mode, WireType.Varint).uint32(stat.mode);
  if (stat.size !== 0) writer.tag(STAT_FIELD.size, WireType.Varint).int64(stat.size);
  if (stat.modTime !== 0n) writer.tag(STAT_FIELD.modTime, WireType.Varint).int64(stat.modTime);
  if (stat.linkname !== "") writer.tag(STAT_FIELD.linkname, WireType.LengthDelimited).string(stat.linkname);
  return writer.join().finish();
}

/** PACKET_DATA: contents of the file ID; none: its end. */
export function dataPacket(ID: number, data: Uint8Array): Uint8Array {
  const writer = packetWriter(PACKET.data, ID);
  if (data.length > 0) writer.tag(PACKET_FIELD.data, WireType.LengthDelimited).bytes(data);
  return writer.finish();
}

/** PACKET_REQ: asks for the contents of the file ID. */
export function requestPacket(ID: number): Uint8Array {
  return packetWriter(PACKET.req, ID).finish();
}

/** PACKET_FIN: nothing more is asked for; or the answer to that. */
export function endPacket(): Uint8Array {
  return packetWriter(PACKET.fin, 0).finish();
}

function packetWriter(type: number, ID: number): BinaryWriter {
  const writer = new BinaryWriter().tag(PACKET_FIELD.type, WireType.Varint).int32(type);
  if (ID !== 0) writer.tag(PACKET_FIELD.ID, WireType.Varint).uint32(ID);
  return writer;
}
