// Results as files: trees that the keeper writes out, and digests of what is in them.

import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ExportDeps, Subject } from "../../exporters/contract.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { CallContext, LayerId } from "../../solver/graph/request.ts";
import type { LocalWorker } from "../../worker/worker.ts";
import type { EngineParts } from "./parts.ts";

export interface TreeFilesDeps {
  readonly parts: Pick<EngineParts, "store" | "keeper">;
  readonly worker: Pick<LocalWorker, "unpacker">;
  /** The step in which unpacking is shown. */
  readonly vertex: Digest;
  readonly context: CallContext;
}

/** What exporters of files need. */
export function openTreeFiles({
  parts: { store, keeper },
  worker: { unpacker },
  vertex,
  context,
}: TreeFilesDeps): Pick<ExportDeps, "files" | "digests"> {
  const directories = (ids: readonly LayerId[], signal: AbortSignal): Promise<string[]> =>
    unpacker.directories(ids, vertex, { ...context, signal });
  const withScratch = async <T>(work: (newDirectory: () => string) => Promise<T>): Promise<T> => {
    const made: string[] = [];
    try {
      return await work(() => {
        const path = mkdtempSync(join(store.tempDir(), "trees-"));
        made.push(path);
        return path;
      });
    } finally {
      for (const path of made) rmSync(path, { recursive: true, force: true });
    }
  };
  return {
    files: ({ trees, form, dest, output, epochSeconds }, { signal }) =>
      withScratch(async (newDirectory) => {
        const ready = await Promise.all(
          trees.map(async ({ layers, more, ...tree }) => {
            const dirs = await directories(layers, signal);
            if (more.length === 0) return { ...tree, dirs };
            const top = newDirectory(); // as one more layer
            chmodSync(top, 0o755);
            for (const { name, data } of more) writeFileSync(join(top, name), data, { mode: 0o600 });
            return { ...tree, dirs: [...dirs, top] };
          }),
        );
        const to = { form, dest, output, scratch: newDirectory(), epochSeconds } as const;
        return await keeper().run({ kind: "export", trees: ready, ...to }, { signal });
      }),
    digests: (layers, { signal }) =>
      withScratch(async (newDirectory) => {
        const out = join(newDirectory(), "files");
        const count = await keeper().run(
          { kind: "digests", dirs: await directories(layers, signal), out },
          { signal },
        );
        return count === 0 ? [] : readLines(readFileSync(out, "utf8"));
      }),
  };
}

/** Lines of a DigestsJob. */
function readLines(text: string): readonly Subject[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const space = line.indexOf(" ");
    return { name: JSON.parse(line.slice(space + 1)) as string, digest: { sha256: line.slice(0, space) } };
  });
}
