// Differences that an image has from its stages: what a step copies from another stage differs since a step there did.

import type { Comparison, FileDifference, LayerDifference, Step } from "./contract.ts";

/** A stage of the same two builds, compared. */
export interface ComparedStage {
  readonly name: string;
  readonly comparison: Comparison;
}

/** The comparison with what follows from stages, by what the steps of its layers copy from. */
export function followStages(
  comparison: Comparison,
  stagesOf: (layer: LayerDifference) => readonly ComparedStage[],
): Comparison {
  const layers = comparison.layers.map((layer): LayerDifference => {
    const stages = stagesOf(layer);
    if (stages.length === 0) return layer;
    const origins = originsIn(stages);
    const files = layer.files.map((file) => {
      const origin = file.follows === null ? origins(file) : null;
      return origin === null ? file : { ...file, follows: origin };
    });
    return { ...layer, files };
  });
  return { ...comparison, layers };
}

/** The step of a stage that a difference is from: the same two contents, or the same name on one side. */
function originsIn(stages: readonly ComparedStage[]): (file: FileDifference) => Step | null {
  const byContent = new Map<string, Step>();
  const byName = new Map<string, Step>();
  for (const { name, comparison } of stages)
    for (const layer of comparison.layers)
      for (const file of layer.files) {
        const step = file.follows ?? layer.step;
        if (step === null) continue;
        const own = { ...step, stage: step.stage ?? name };
        if (file.content !== null && !byContent.has(file.content.digests))
          byContent.set(file.content.digests, own);
        const key = nameKey(file);
        if (!byName.has(key)) byName.set(key, own);
      }
  return (file) => {
    if (file.content !== null && file.content.digests !== "")
      return byContent.get(file.content.digests) ?? null;
    return byName.get(nameKey(file)) ?? null;
  };
}

function nameKey({ path, change, fields }: FileDifference): string {
  const base = path.slice(path.lastIndexOf("/") + 1);
  return `${change} ${base} ${fields.map(({ field }) => field).join()}`;
}
