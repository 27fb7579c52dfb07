// tsbuild explain: why the steps of the last build ran.

import { BuildError } from "../../solver/graph/error.ts";
import { renderExplained } from "../explain-text.ts";
import { withStore } from "../local-store.ts";
import type { Command } from "../command.ts";

export const command: Command = {
  flags: {
    usage: "[OPTIONS]",
    positionals: { min: 0, max: 0 },
    flags: [{ name: "format", kind: "string", initial: '"text"', help: 'Format output: "text" or "json"' }],
  },
  async run(flags, { config, print }) {
    const format = flags.one("format") ?? "text";
    if (format !== "text" && format !== "json") {
      throw new BuildError("USAGE", `unknown format ${JSON.stringify(format)}`, {
        hint: 'use "text" or "json"',
      });
    }
    const { lastBuild } = await import("../../solver/traces.ts");
    const build = await withStore(config, (store) => lastBuild(store.records));
    if (build === null) {
      throw new BuildError("USAGE", "no build was recorded in this store", {
        hint: `the store is ${config.root}; use --root for another`,
      });
    }
    if (format === "json") {
      print(
        `${JSON.stringify({ ...build, atMs: undefined, at: new Date(build.atMs).toISOString() }, null, 2)}\n`,
      );
      return 0;
    }
    print(`Last build: ${build.title}, ${new Date(build.atMs).toISOString()}\n${renderExplained(build)}`);
    return 0;
  },
};
