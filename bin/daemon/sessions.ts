// The sessions of clients by their ids. A build may be asked for before its session is there.

import type { RemoteSession } from "./remote-session.ts";
import { CODE, RpcError } from "../wire/status.ts";

/** As BuildKit waits for the session of a Solve. */
const WAIT_MS = 5_000;

export interface Sessions {
  add(session: RemoteSession): void;
  remove(session: RemoteSession): void;
  /** "prefix:id" stands for "id". Throws RpcError NOT_FOUND when it does not come. */
  get(id: string, signal: AbortSignal): Promise<RemoteSession>;
}

export function openSessions(): Sessions {
  const sessions = new Map<string, RemoteSession>();
  const waiting = new Map<string, Set<(session: RemoteSession) => void>>();
  return {
    add(session) {
      if (sessions.has(session.id))
        throw new RpcError(CODE.ALREADY_EXISTS, `session ${session.id} exists already`);
      sessions.set(session.id, session);
      for (const found of waiting.get(session.id) ?? []) found(session);
      waiting.delete(session.id);
    },
    remove(session) {
      if (sessions.get(session.id) === session) sessions.delete(session.id);
    },
    async get(text, signal) {
      const id = text.slice(text.lastIndexOf(":") + 1);
      const known = sessions.get(id);
      if (known !== undefined) return known;
      return await new Promise((resolve, reject) => {
        const all = waiting.get(id) ?? new Set();
        waiting.set(id, all);
        const end = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", onAbort);
          all.delete(found);
          if (all.size === 0 && waiting.get(id) === all) waiting.delete(id);
        };
        const found = (session: RemoteSession): void => {
          end();
          resolve(session);
        };
        const onAbort = (): void => {
          end();
          reject(signal.reason as Error);
        };
        const timer = setTimeout(() => {
          end();
          reject(new RpcError(CODE.NOT_FOUND, `no active session for ${id}: context deadline exceeded`));
        }, WAIT_MS);
        all.add(found);
        if (signal.aborted) onAbort();
        else signal.addEventListener("abort", onAbort, { once: true });
      });
    },
  };
}
