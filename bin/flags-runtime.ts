// --oci-runtime of build and run, and TSBUILD_OCI_RUNTIME: the program that runs steps instead of the built-in sandbox.

import { resolve } from "node:path";
import type { FlagSpec, ParsedFlags } from "./args.ts";
import type { Environment } from "./engine/config.ts";

export const RUNTIME_FLAGS: readonly FlagSpec[] = [
  {
    name: "oci-runtime",
    kind: "string",
    help: 'Run steps in this OCI runtime ("crun", "runc", a path; $TSBUILD_OCI_RUNTIME)',
  },
];

/** A name to be looked for in PATH, or an absolute path; null: the built-in sandbox, also for an empty flag. */
export function readOciRuntime(flags: ParsedFlags, env: Environment, cwd: string): string | null {
  const text = flags.one("oci-runtime") ?? env.TSBUILD_OCI_RUNTIME ?? "";
  if (text === "") return null;
  return text.includes("/") ? resolve(cwd, text) : text;
}
