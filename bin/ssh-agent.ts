// An agent for the keys of --ssh ID=KEY,KEY: it lists them and signs, nothing else. It runs in this process, so the keys
// never enter a step. Protocol: draft-ietf-sshm-ssh-agent.

import { chmodSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import type { SshKey } from "./ssh-keys.ts";
import { readFields, strings, uint32 } from "./ssh-wire.ts";

const FAILURE = 5;
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
/** OpenSSH's agent takes no longer message either. */
const MESSAGE_MAX_BYTES = 256 * 1024;

/** Serves the keys on a new socket at `path`, in a directory of its own that only this user can enter. Disposing ends all
 *  connections and takes the socket away. Rejects when there can be no socket at that path. */
export async function serveSshAgent(path: string, keys: readonly SshKey[]): Promise<AsyncDisposable> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    serve(socket, keys);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
      rmSync(path, { force: true });
    },
  };
}

function serve(socket: Socket, keys: readonly SshKey[]): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on("error", () => socket.destroy()); // the other side went away
  socket.on("data", (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 4) {
      const length = pending.readUInt32BE();
      if (length > MESSAGE_MAX_BYTES) {
        socket.destroy();
        return;
      }
      if (pending.length < 4 + length) return;
      const message = pending.subarray(4, 4 + length);
      pending = pending.subarray(4 + length);
      socket.write(strings(answer(message, keys)));
    }
  });
}

/** The answer to one message. What is asked wrongly, or of a key that is not here, fails; the connection goes on. */
function answer(message: Buffer, keys: readonly SshKey[]): Buffer {
  const failed = Buffer.from([FAILURE]);
  if (message[0] === REQUEST_IDENTITIES) {
    const list = keys.map(({ blob, comment }) => strings(blob, Buffer.from(comment)));
    return Buffer.concat([Buffer.from([IDENTITIES_ANSWER]), uint32(keys.length), ...list]);
  }
  if (message[0] !== SIGN_REQUEST) return failed;
  try {
    const fields = readFields(message.subarray(1));
    const blob = fields.bytes();
    const data = fields.bytes();
    const flags = fields.uint32();
    const key = keys.find((candidate) => candidate.blob.equals(blob));
    if (key === undefined) return failed;
    return Buffer.concat([Buffer.from([SIGN_RESPONSE]), strings(key.sign(data, flags))]);
  } catch {
    return failed; // a message that is cut off, or a key too small for that hash
  }
}
