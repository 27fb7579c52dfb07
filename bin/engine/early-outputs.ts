// Which results are part of an image before it is finished: what its last step stands on. exporters/early.ts prepares their layers for
// the outputs while later steps run.

import type { EarlyOutputs } from "../../exporters/early.ts";
import type { Definition, Input, Vertex } from "../../solver/graph/definition.ts";
import type { LayerId, Result } from "../../solver/graph/request.ts";
import type { OnResult } from "../../solver/solver.ts";

export interface EarlyResults extends AsyncDisposable {
  /** For the solver of one definition. Results of the last steps are left to the outputs, which begin then; and so is what was cached,
   *  since an earlier build has prepared it. */
  onResult(definition: Definition, roots: readonly Input[]): OnResult;
  /** Begins nothing new, and resolves when what has begun is over: what the outputs are told of it. */
  finish(): Promise<Partial<Pick<EarlyOutputs, "isSent">>>;
}

/** Opens nothing before the first result that there is to prepare. */
export function openEarlyResults(open: () => Promise<EarlyOutputs>): EarlyResults {
  let opened: Promise<EarlyOutputs> | null = null;
  const offer = (layers: readonly LayerId[]): void => {
    opened ??= open();
    opened.then((early) => early.offer(layers)).catch(() => {}); // told by finish()
  };
  return {
    onResult(definition, roots) {
      let below: ReadonlySet<string> | null = null;
      return (input, result: Result, isCached) => {
        if (isCached || result.kind !== "layers" || result.layers.length === 0) return;
        below ??= resultsBelow(definition, roots);
        if (below.has(nameOf(input))) offer(result.layers);
      };
    },
    async finish() {
      const early = await opened;
      await early?.finish();
      return early === null ? {} : { isSent: early.isSent };
    },
    async [Symbol.asyncDispose]() {
      const early = await opened?.catch(() => null);
      await early?.[Symbol.asyncDispose]();
    },
  };
}

const nameOf = ({ vertex, output }: Input): string => `${vertex} ${output}`;

/** The results whose layers are among those of the roots, as far as the graph shows that; without the roots themselves. */
export function resultsBelow({ vertices }: Definition, roots: readonly Input[]): ReadonlySet<string> {
  const found = new Set<string>();
  const waiting = [...roots];
  for (let input = waiting.pop(); input !== undefined; input = waiting.pop()) {
    const vertex = vertices.get(input.vertex);
    for (const below of vertex === undefined ? [] : standsOn(vertex, input.output)) {
      if (found.has(nameOf(below))) continue;
      found.add(nameOf(below));
      waiting.push(below);
    }
  }
  for (const root of roots) found.delete(nameOf(root));
  return found;
}

/** The inputs whose layers an output begins with. */
function standsOn({ op, inputs }: Vertex, output: number): readonly Input[] {
  const at = (input: number | null | undefined): readonly Input[] =>
    input === null || input === undefined ? [] : inputs.slice(input, input + 1);
  switch (op.kind) {
    case "exec": {
      const mount = op.mounts.find((one) => one.kind === "bind" && one.output === output);
      return mount?.kind === "bind" ? at(mount.input) : [];
    }
    case "file": {
      let index = op.actions.findIndex((action) => action.output === output);
      for (;;) {
        const base = op.actions[index]?.base ?? null;
        if (base === null || base < inputs.length) return at(base);
        index = base - inputs.length;
      }
    }
    case "merge":
      return op.inputs.flatMap(at);
    case "source":
    case "diff":
    case "build":
    case "passthrough":
      return [];
  }
}
