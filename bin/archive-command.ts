// Shared by load and import: the archive's source, and the progress display.

import { resolve } from "node:path";
import { BuildError } from "../solver/graph/error.ts";
import type { ProgressMode } from "./config.ts";
import type { ArchiveOptions, ArchiveSource } from "./engine/archives.ts";
import { withStore } from "./local-store.ts";
import { displayed } from "./transfer.ts";
import type { Store } from "../cache/contract.ts";
import type { CommandContext } from "./command.ts";

/** The file, its path absolute, or standard input for "-". Throws USAGE when standard input is a terminal. */
export function archiveSource(text: string, cwd: string, command: string): ArchiveSource {
  if (text !== "-" && text !== "") return { kind: "file", path: resolve(cwd, text) };
  if (!process.stdin.isTTY) return { kind: "stream", stream: process.stdin };
  throw new BuildError("USAGE", `requested ${command} from stdin, but stdin is empty`, {
    hint:
      command === "load"
        ? "use -i FILE, or redirect standard input"
        : "give a file or an http(s) URL, or redirect standard input",
  });
}

/** Does the work on the store; prints errors in the form of a failed step. Returns null when it failed. */
export async function archiveStep<T>(
  mode: ProgressMode,
  context: CommandContext,
  work: (store: Store, options: ArchiveOptions) => Promise<T>,
): Promise<T | null> {
  const { config, signal } = context;
  return await displayed("Loading", mode, context, (emit) =>
    withStore(config, (store) => work(store, { signal, emit })),
  );
}
