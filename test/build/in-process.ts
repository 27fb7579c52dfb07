// `tsbuild build` inside the test process, for tests of many small builds.

import { parseFlags } from "../../bin/args.ts";
import { command as build } from "../../bin/commands/build.ts";
import { readConfig } from "../../bin/config.ts";
import { openStore } from "../../cache/store.ts";
import type { ExplainedBuild } from "../../solver/solver.ts";
import { lastBuild } from "../../solver/traces.ts";
import type { Workshop } from "./fixture.ts";

export interface BuildHere {
  readonly code: number;
  readonly stderr: string;
}

/** Builds with the workshop's store and base image. */
export async function buildHere(
  shop: Workshop,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<BuildHere> {
  const env = { PATH: process.env.PATH, HOME: shop.root };
  const spec = { ...build.flags, name: "build", summary: "" };
  const flags = parseFlags(spec, [
    ...["--progress=quiet", "--build-context", `base=oci-layout://${shop.at("base")}`],
    ...args,
  ]);
  let stderr = "";
  const code = await build.run(flags, {
    config: readConfig({ root: shop.root, debug: false, verbose: false }, env, shop.dir),
    cwd: shop.dir,
    signal: signal ?? new AbortController().signal,
    print: () => {},
    complain: (text) => {
      stderr += text;
    },
  });
  return { code, stderr };
}

/** What the store remembers of the last build. */
export async function explained(shop: Workshop): Promise<ExplainedBuild> {
  await using store = await openStore(shop.root);
  const last = lastBuild(store.records);
  if (last === null) throw new Error("nothing was built");
  return last;
}
