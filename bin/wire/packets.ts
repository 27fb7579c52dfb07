// What a transfer of files needs of a call, on either side of it, and packets that are written by hand.

import type { Call } from "./server.ts";

export interface PacketCall {
  send(message: Uint8Array): Promise<void>;
  /** Several at once: a listing has thousands of small ones. */
  sendAll(messages: readonly Uint8Array[]): Promise<void>;
  messages(): AsyncGenerator<Uint8Array, void, undefined>;
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
    messages: () => call.messages(),
    end() {},
    cancel() {},
    isAnswer: true,
  };
}

// fsutil's Packet: type = 1 (DATA is 2), ID = 3, data = 4.
const DATA_HEAD = [0x08, 0x02];
const ID_TAG = 0x18;
const DATA_TAG = 0x22;

/** PACKET_DATA: contents of the file ID; none: its end. */
export function dataPacket(ID: number, data: Uint8Array): Uint8Array {
  const head = [...DATA_HEAD];
  if (ID !== 0) head.push(ID_TAG, ...varint(ID));
  if (data.length > 0) head.push(DATA_TAG, ...varint(data.length));
  const packet = Buffer.allocUnsafe(head.length + data.length);
  packet.set(head);
  packet.set(data, head.length);
  return packet;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 0x80);
  }
}
