// Flags of several commands about what they print and write.

import type { FlagSpec } from "./args.ts";

/** `initial`: what the command does without it. */
export function progressFlag(initial: "auto" | "quiet"): FlagSpec {
  return {
    name: "progress",
    kind: "string",
    initial: `"${initial}"`,
    help: 'Progress output ("auto", "plain", "tty", "rawjson", "quiet")',
  };
}

/** -o of commands that print their result. */
export const OUTPUT_FILE_FLAG: FlagSpec = {
  name: "output",
  short: "o",
  kind: "string",
  value: "file",
  help: "Write to a file instead of standard output",
};
