// pull and push: one transfer with its display.

import { colourTable } from "./colours.ts";
import type { CommandContext } from "./commands.ts";
import type { Engine, EngineTransferOptions } from "./config.ts";
import { openLocalSession } from "./local-session.ts";
import { openDisplay } from "./progress.ts";
import type { ProgressMode } from "./config.ts";
import type { Descriptor } from "../solver/graph/request.ts";

/** Runs one transfer; prints errors in the form of a failed step. Returns null when it failed. */
export async function transfer(
  mode: ProgressMode,
  context: CommandContext,
  work: (engine: Engine, options: EngineTransferOptions) => Promise<Descriptor>,
): Promise<Descriptor | null> {
  const { config, signal } = context;
  const display = await openDisplay(mode, { stream: process.stderr, env: config.env });
  try {
    const { openEngine } = await import("./engine.ts");
    await using engine = await openEngine(config);
    const session = openLocalSession(config, { directories: new Map(), secrets: [], ssh: [] });
    const done = await work(engine, { signal, session, emit: (event) => display.event(event) });
    display.finish();
    return done;
  } catch (error) {
    display.finish();
    if (signal.aborted) throw error;
    const { renderFailure } = await import("./excerpt.ts");
    const colours = process.stderr.isTTY ? colourTable(config.env) : null;
    context.complain(
      renderFailure(error, {
        sources: new Map(),
        state: display.state,
        colours,
        prefix: "",
        debug: config.debug,
      }),
    );
    return null;
  }
}
