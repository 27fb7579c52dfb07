// How a process or thread of ours is started: from its bundle where there is one, from the module beside the caller in a checkout.

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
