// A connection inside of a call: messages of bytes in both directions as one stream (Control.Session, ForwardAgent).

import { Duplex } from "node:stream";
import { decodeBytes, sendBytes } from "./bytes-message.ts";

/** What a tunnel needs of a call, on either side of it. */
export interface Tunnelled {
  messages(): AsyncGenerator<Uint8Array, void, undefined>;
  send(message: Uint8Array): Promise<void>;
}

/** The bytes of a call. Ending it calls onEnd; it is destroyed with the call's error. */
export function openTunnel(call: Tunnelled, { onEnd }: { readonly onEnd: () => void }): Duplex {
  const messages = call.messages();
  let reading = false;
  const tunnel = new Duplex({
    allowHalfOpen: true,
    read() {
      if (reading) return;
      reading = true;
      void pump();
    },
    write(chunk: Buffer, _encoding, done) {
      void sendAll([chunk], done);
    },
    writev(chunks, done) {
      void sendAll(
        chunks.map(({ chunk }) => chunk as Buffer),
        done,
      );
    },
    final(done) {
      onEnd();
      done();
    },
    destroy(error, done) {
      onEnd();
      done(error);
    },
  });

  async function sendAll(chunks: readonly Buffer[], done: (error?: Error) => void): Promise<void> {
    try {
      await sendBytes(call, chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    } catch (error) {
      return done(error as Error);
    }
    done();
  }

  async function pump(): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await messages.next();
        if (done === true) {
          tunnel.push(null);
          return;
        }
        const data = decodeBytes(value);
        if (data.length > 0 && !tunnel.push(data)) break;
      }
    } catch (error) {
      tunnel.destroy(error as Error);
      return;
    }
    reading = false;
  }
  return tunnel;
}
