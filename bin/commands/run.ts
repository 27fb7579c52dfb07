// tsbuild run: runs a command in an image, attached to this terminal. The container is removed afterwards.

import { openLocalEngine } from "../local-store.ts";
import type { Terminal } from "../engine/request.ts";
import { openDisplay } from "../progress.ts";
import { readRunFlags, RUN_FLAGS } from "../flags-run.ts";
import { openLocalSession } from "../local-session.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: RUN_FLAGS,
  async run(flags, { config, cwd, signal }) {
    const request = await readRunFlags(flags, config.env, cwd, signal);
    await using engine = await openLocalEngine(config, { signal });
    // layers may have to be fetched first, which is shown; from then on the screen is the command's
    const display = await openDisplay("auto", { stream: process.stderr, env: config.env, phase: "Loading" });
    try {
      return await engine.run(request, {
        signal,
        session: openLocalSession(config, { directories: new Map(), secrets: [], ssh: [], signal }),
        emit(event) {
          if (event.kind !== "note" || config.verbose) display.event(event);
        },
        stdin: request.interactive ? process.stdin : null,
        terminal: request.tty ? terminalOf(process.stdout) : null,
        onReady: () => display.finish(),
        onOutput(fd, data) {
          (fd === 1 ? process.stdout : process.stderr).write(data);
        },
      });
    } finally {
      display.finish();
    }
  },
};

function terminalOf(stream: NodeJS.WriteStream): Terminal {
  return {
    size: () => ({ rows: stream.rows || 24, columns: stream.columns || 80 }),
    onResize(listener) {
      stream.on("resize", listener);
      return () => void stream.off("resize", listener);
    },
  };
}
