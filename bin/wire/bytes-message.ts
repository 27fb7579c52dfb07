// BytesMessage{bytes data = 1}: pieces of a stream of bytes. Written and read by hand, which copies nothing; there are four of them in BuildKit's
// packages, all the same on the wire.

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

const TAG = 0x0a; // field 1, length-delimited
/** Data of one message at most: a client that serves calls takes no message over 4 MiB. */
const PIECE_MAX_BYTES = 1 << 20;

export function encodeBytes(data: Uint8Array): Uint8Array {
  const head = [TAG];
  let length = data.length;
  while (length > 0x7f) {
    head.push((length & 0x7f) | 0x80);
    length >>>= 7;
  }
  head.push(length);
  return data.length === 0 ? new Uint8Array(0) : Buffer.concat([Buffer.from(head), data]);
}

export function decodeBytes(message: Uint8Array): Uint8Array {
  const reader = new BinaryReader(message);
  let data: Uint8Array = new Uint8Array(0);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) data = reader.bytes();
    else reader.skip(type, field);
  }
  return data;
}

/** Sends data of any length, in pieces that every client takes. */
export async function sendBytes(
  call: { send(message: Uint8Array): Promise<void> },
  data: Uint8Array,
): Promise<void> {
  for (let at = 0; at < data.length; at += PIECE_MAX_BYTES)
    await call.send(encodeBytes(data.subarray(at, at + PIECE_MAX_BYTES)));
}
