// [keeper] An agent socket for one step, with its own owner and mode; the host's socket itself never enters the step.

import { chmodSync, chownSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { close } from "../sys/file.ts";
import { detachedTmpfs } from "./launcher-file.ts";
import { MOUNT_ATTR } from "../sys/constants.ts";

export interface SshRelay {
  /** A detached mount of the listening socket; closed by close(). */
  readonly fd: number;
  close(): void;
}

/** Listens on a new socket and passes every connection on to the agent at `socket` (a path of the host). */
export async function openSshRelay(options: {
  readonly socket: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  /** A detached mount of the entry `name` of `dir`, a detached mount as well. */
  readonly clone: (dir: number, name: string) => number;
}): Promise<SshRelay> {
  const dir = detachedTmpfs(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC);
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const agent = connect(options.socket);
    for (const [from, to] of [
      [client, agent],
      [agent, client],
    ] as const) {
      open.add(from);
      from.on("error", () => to.destroy()); // one side gone: the other learns it by its end
      from.on("close", () => {
        open.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  try {
    const name = "agent";
    const path = `/proc/self/fd/${dir}/${name}`;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, () => resolve());
    });
    chownSync(path, options.uid, options.gid);
    chmodSync(path, options.mode);
    const fd = options.clone(dir, name);
    return {
      fd,
      close() {
        server.close();
        for (const connection of open) connection.destroy();
        close(fd);
        close(dir);
      },
    };
  } catch (error) {
    server.close();
    close(dir);
    throw error;
  }
}
