// What a Dockerfile wants in bills of materials beside its image: stages it is made of, and the build context. BuildKit: docs/attestations/sbom.md,
// "Dockerfile configuration"; isEnabledForStage in frontend/dockerfile/dockerfile2llb/convert.go.

import { parseBool } from "./go-strings.ts";
import type { Conversion, StageState } from "./stage-state.ts";
import { reachableFrom, type Stage } from "./stages.ts";
import type { ScanTarget } from "./contract.ts";

const SCAN_CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT";
const SCAN_STAGE = "BUILDKIT_SBOM_SCAN_STAGE";

/** Arguments that are for the builder: not in the environment of RUN, and no variables. */
export const BUILDER_ARGS: ReadonlySet<string> = new Set([SCAN_CONTEXT, SCAN_STAGE]);

/** The context if the target asks for it, and the stages that ask for themselves, as far as the target needs them; the target itself is scanned
 *  anyway. All of them have been converted. */
export function scansOf(conversion: Conversion, target: Stage): readonly ScanTarget[] {
  const { graph, globalArgs, states } = conversion;
  const isAsked = (stage: Stage, { builderArgs }: StageState, name: string): boolean => {
    const value = builderArgs.get(name) ?? globalArgs.get(name);
    return value !== undefined && (parseBool(value) ?? value.split(",").includes(stage.name ?? stage.label));
  };
  const found = new Map<string, ScanTarget>();
  const add = (name: string, definition: ScanTarget["definition"]): void =>
    void found.set(name, { name, definition });
  const own = states.get(target);
  if (own !== undefined && isAsked(target, own, SCAN_CONTEXT))
    add("context", graph.definition(conversion.context()));
  const reached = reachableFrom([target]);
  // In the order of the file: of two stages with one name it is the later one.
  for (const [stage, state] of states) {
    if (stage === target || !stage.isListed || stage.isReplaced || !reached.has(stage)) continue;
    if (isAsked(stage, state, SCAN_STAGE)) add(stage.label, graph.definition(state.fs));
  }
  return [...found.values()];
}
