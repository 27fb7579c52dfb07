// What a comparison comes to: by step and class of cause, first steps first.

import { CLASSES, type CauseClass } from "./classes.ts";
import type { Cause, Comparison, FileDifference, LayerDifference, Step } from "./contract.ts";

/** One cause of one step, with its files. */
export interface Finding {
  readonly class: CauseClass;
  readonly title: string;
  readonly proposal: string;
  /** null: the image's config, or a tree without steps. */
  readonly step: Step | null;
  /** Place of the layer in the second image, or the first; from 1. */
  readonly layer: number | null;
  /** Paths, and the detail of the first of them. */
  readonly files: readonly string[];
  readonly detail: string;
  /** As of the layer. */
  readonly tar?: "busybox";
}

/** All causes that steps brought in, not those that follow from earlier ones; at last what the image config says differently. */
export function findingsOf({ layers, config }: Pick<Comparison, "layers" | "config">): readonly Finding[] {
  return [...layers.flatMap(findingsIn), ...configFindings(config)];
}

/** Fields of the config that say when something was made. */
export function isTimeField(field: string): boolean {
  return /^(?:created|history\[\d+\]\.created)$/.test(field);
}

function configFindings(config: Comparison["config"]): readonly Finding[] {
  const named = (name: CauseClass, fields: Comparison["config"]): readonly Finding[] => {
    const [first] = fields;
    if (first === undefined) return [];
    const more = fields.length > 1 ? `, and ${fields.length - 1} more` : "";
    const detail = `image config: ${first.field}: ${first.a} and ${first.b}${more}`;
    return [{ class: name, ...CLASSES[name], step: null, layer: null, files: [], detail }];
  };
  return [
    ...named(
      "file-times",
      config.filter(({ field }) => isTimeField(field)),
    ),
    ...named(
      "unknown",
      config.filter(({ field }) => !isTimeField(field)),
    ),
  ];
}

function findingsIn(layer: LayerDifference): readonly Finding[] {
  const found = new Map<CauseClass, { detail: string; files: string[] }>();
  const add = (cause: Cause, file: string | null): void => {
    const one = found.get(cause.class) ?? { detail: cause.detail, files: [] };
    found.set(cause.class, one);
    if (file !== null && !one.files.includes(file)) one.files.push(file);
  };
  for (const file of layer.files)
    if (file.follows === null) for (const cause of file.causes) add(cause, file.path);
  for (const cause of layer.causes) add(cause, null);
  const { step } = layer;
  return [...found].map(([name, { detail, files }]) => ({
    class: name,
    ...CLASSES[name],
    step,
    layer: layer.b ?? layer.a,
    files,
    detail,
    ...(layer.tar === undefined ? {} : { tar: layer.tar }),
  }));
}

/** Files that differ since an earlier step made them differ. */
export function followersOf({ files }: LayerDifference): readonly FileDifference[] {
  return files.filter(({ follows }) => follows !== null);
}
