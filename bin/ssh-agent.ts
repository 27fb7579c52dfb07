// An agent for the keys of `--ssh ID=KEY,KEY`: lists them and signs, nothing else. It lives in this process; the keys never
// leave it. Protocol: draft-ietf-sshm-ssh-agent.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { reader, type SshKey, strings } from "./ssh-keys.ts";

const FAILURE = 5;
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;
/** OpenSSH's agent takes no longer message either. */
const MESSAGE_MAX_BYTES = 256 * 1024;

/** Starts an agent and returns its socket, which is gone with the process. It keeps no process alive. */
export function startSshAgent(keys: readonly SshKey[]): string {
  const dir = mkdtempSync(join(tmpdir(), "tsbuild-ssh-")); // 0700
  const path = join(dir, "agent");
  const server = createServer((socket) => serve(socket, keys));
  server.on("error", () => {}); // the step that wants the agent finds no socket, and says so
  server.listen(path).unref();
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
  return path;
}

function serve(socket: Socket, keys: readonly SshKey[]): void {
  let pending = Buffer.alloc(0);
  socket.unref();
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
    const count = Buffer.alloc(4);
    count.writeUInt32BE(keys.length);
    const list = keys.map(({ blob, comment }) => strings(blob, Buffer.from(comment)));
    return Buffer.concat([Buffer.from([IDENTITIES_ANSWER]), count, ...list]);
  }
  if (message[0] !== SIGN_REQUEST) return failed;
  try {
    const fields = reader(message.subarray(1));
    const blob = fields.bytes();
    const data = fields.bytes();
    const flags = fields.number();
    const key = keys.find((candidate) => candidate.blob.equals(blob));
    return key === undefined
      ? failed
      : Buffer.concat([Buffer.from([SIGN_RESPONSE]), strings(key.sign(data, flags))]);
  } catch {
    return failed; // a message that is cut off, or a key that cannot sign so
  }
}
