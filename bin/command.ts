// What a command is. Types only.

import type { CommandFlags, ParsedFlags } from "./args.ts";
import type { Config } from "./config.ts";

/** What a command gets besides its flags. */
export interface CommandContext {
  readonly config: Config;
  readonly cwd: string;
  readonly signal: AbortSignal;
  /** Standard output: results only. */
  readonly print: (text: string | Uint8Array) => void;
  /** Standard error: everything else. */
  readonly complain: (text: string) => void;
}

export interface Command {
  readonly flags: CommandFlags;
  /** Returns the exit code; throws BuildError for what the user is to be told. */
  run(flags: ParsedFlags, context: CommandContext): Promise<number>;
}

/** A command by its name. Only the module of the called command is loaded. */
export interface CommandEntry {
  readonly name: string;
  /** One line for the help. */
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}
