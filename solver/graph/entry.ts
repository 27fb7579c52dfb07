// How a process or thread is started: from its bundle if there is one, in a checkout from the module next to the caller.

import { fileURLToPath } from "node:url";

/** What Node is given to start `name` (an entry of bin/bundle.mjs), whose module is `module`: a script and its first arguments. */
export function entryOf(
  name: string,
  module: URL,
): { readonly file: string; readonly argv: readonly [name: string, module: string] } {
  return {
    file: fileURLToPath(new URL("./bundle.cjs", import.meta.url)),
    argv: [name, fileURLToPath(module)],
  };
}
