// pull, push, save, load, import, sbom and diff: one task with its progress display.

import type { Emit } from "../solver/graph/event.ts";
import { colourTable } from "./colours.ts";
import type { Engine } from "./engine/contract.ts";
import type { EngineTransferOptions, SourceText } from "./engine/request.ts";
import { openLocalSession } from "./local-session.ts";
import { openLocalEngine } from "./local-store.ts";
import { openDisplay, type Phase } from "./progress.ts";
import type { ProgressMode } from "./config.ts";
import type { CommandContext } from "./command.ts";

/** Runs one transfer; prints errors in the form of a failed step. Returns null when it failed. */
export async function transfer<T>(
  phase: Phase,
  mode: ProgressMode,
  context: CommandContext,
  work: (engine: Engine, options: EngineTransferOptions) => Promise<T>,
): Promise<T | null> {
  const { config, signal } = context;
  return await displayed(phase, mode, context, async (emit) => {
    await using engine = await openLocalEngine(config, { signal });
    const session = openLocalSession(config, { directories: new Map(), secrets: [], ssh: [], signal });
    return await work(engine, { signal, session, emit });
  });
}

/** Shows what the work tells of; prints errors in the form of a failed step, with lines of `sources`. Returns null when it failed. */
export async function displayed<T>(
  phase: Phase,
  mode: ProgressMode,
  { config, signal, complain }: CommandContext,
  work: (emit: Emit) => Promise<T>,
  sources: ReadonlyMap<string, SourceText> = new Map(),
): Promise<T | null> {
  const display = await openDisplay(mode, { stream: process.stderr, env: config.env, phase });
  try {
    const done = await work((event) => display.event(event));
    display.finish();
    return done;
  } catch (error) {
    display.finish();
    if (signal.aborted) throw error;
    const { renderFailure } = await import("./excerpt.ts");
    const colours = process.stderr.isTTY ? colourTable(config.env) : null;
    complain(
      renderFailure(error, {
        sources,
        state: display.state,
        colours,
        prefix: "",
        isBuild: false,
        debug: config.debug,
      }),
    );
    return null;
  }
}
