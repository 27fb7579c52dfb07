// The sessions of clients by their ids. A build may be asked for before its session is there.

import type { RemoteSession } from "./remote-session.ts";
import { CODE, RpcError } from "../wire/status.ts";
import { openWaiting } from "./waiting.ts";

/** As BuildKit waits for the session of a Solve. */
const WAIT_MS = 5_000;

export interface Sessions {
  readonly count: number;
  add(session: RemoteSession): void;
  remove(session: RemoteSession): void;
  /** "prefix:id" stands for "id". Throws RpcError NOT_FOUND when it does not come. */
  get(id: string, signal: AbortSignal): Promise<RemoteSession>;
}

export function openSessions(): Sessions {
  const sessions = new Map<string, RemoteSession>();
  const waiting = openWaiting<RemoteSession>();
  return {
    get count() {
      return sessions.size;
    },
    add(session) {
      if (sessions.has(session.id))
        throw new RpcError(CODE.ALREADY_EXISTS, `session ${session.id} exists already`);
      sessions.set(session.id, session);
      waiting.arrived(session.id, session);
    },
    remove(session) {
      if (sessions.get(session.id) === session) sessions.delete(session.id);
    },
    async get(text, signal) {
      const id = text.slice(text.lastIndexOf(":") + 1);
      return (
        sessions.get(id) ??
        (await waiting.wait(id, {
          ...{ withinMs: WAIT_MS, signal },
          late: () => new RpcError(CODE.NOT_FOUND, `no active session for ${id}: context deadline exceeded`),
        }))
      );
    },
  };
}
