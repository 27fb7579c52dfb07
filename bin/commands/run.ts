// tsbuild run: a command in an image, attached to this terminal. Nothing of it stays.

import type { Command } from "../commands.ts";
import { openDisplay } from "../progress.ts";
import { readRunFlags, RUN_FLAGS } from "../flags-run.ts";
import { openLocalSession } from "../local-session.ts";

export const command: Command = {
  flags: RUN_FLAGS,
  async run(flags, { config, cwd, signal }) {
    const request = await readRunFlags(flags, config.env, cwd);
    const { openEngine } = await import("../engine.ts");
    await using engine = await openEngine(config);
    // a pull may come first, and is shown; the display is gone before the command writes
    const display = await openDisplay("auto", { stream: process.stderr, env: config.env });
    try {
      return await engine.run(request, {
        signal,
        session: openLocalSession(config, { directories: new Map(), secrets: [], ssh: [] }),
        emit(event) {
          if (event.kind !== "note" || config.verbose) display.event(event);
        },
        stdin: request.interactive ? process.stdin : null,
        onOutput(fd, data) {
          display.finish();
          (fd === 1 ? process.stdout : process.stderr).write(data);
        },
      });
    } finally {
      display.finish();
    }
  },
};
