// A session as one call of a frontend sees it: options may give its directories other names, or say which session of the client has them.

import { MAIN_DIRECTORY } from "../engine/defaults.ts";
import type { ClientFiles } from "../../solver/graph/session.ts";
import type { Attributes } from "./attributes.ts";
import type { RemoteSession } from "./remote-session.ts";

/** Options that begin so name the session of a directory (bake: several targets share one). */
const SESSION_OF = "local-sessionid:";

/** The session itself, if the options say nothing else. */
export function viewOf(session: RemoteSession, options: Attributes): RemoteSession {
  const main = options["contextkey"] ?? MAIN_DIRECTORY;
  const elsewhere = Object.keys(options).some((name) => name.startsWith(SESSION_OF));
  if (main === MAIN_DIRECTORY && !elsewhere) return session;
  const files = async (asked: string): Promise<ClientFiles> => {
    const name = asked === MAIN_DIRECTORY ? main : asked;
    const id = options[`${SESSION_OF}${name}`];
    if (id === undefined || id === session.id) return await session.files(name);
    const other = await session.other?.(id, { signal: session.gone });
    return await (other ?? session).files(name);
  };
  return { ...session, files };
}
