// What provenance says with mode=max: files that steps are written in, where each step is in them, and the layers after it. BuildKit:
// solver/llbsolver/provenance/buildconfig.go.

import type { Descriptor } from "../../solver/graph/request.ts";
import { encodeDescriptor } from "../image.ts";
import { sortedMap, withoutEmpty } from "../go-json.ts";
import type { BuildConfig } from "./llb-json.ts";

type Json = Record<string, unknown>;

/** A file that steps are written in. */
export interface SourceInfo {
  readonly filename: string;
  readonly language: string;
  readonly data: Uint8Array;
  /** The steps that read it; null: not known. */
  readonly config: BuildConfig | null;
}

/** Steps and their places in files, for mode=max. */
export interface Detail {
  readonly config: BuildConfig;
  readonly infos: readonly SourceInfo[];
  /** By number of the step. Lines count from 1, characters from 0. */
  readonly locations: ReadonlyMap<number, readonly SourceLocation[]>;
  /** By "step0:0": stacks of layers as they are in a manifest. */
  readonly layers: Readonly<Record<string, readonly (readonly Descriptor[])[]>>;
}
export interface SourceLocation {
  readonly sourceIndex: number;
  readonly start: Position;
  readonly end: Position;
}
interface Position {
  readonly line: number;
  readonly character: number;
}

/** BuildKit's own part of the metadata. vcs: what the client says of its repository. */
export function metadataJson(detail: Detail | null, vcs: Readonly<Record<string, string>>): Json {
  return withoutEmpty({
    vcs: sortedMap(vcs),
    source: detail === null || detail.infos.length === 0 ? undefined : sourceJson(detail),
    layers:
      detail === null
        ? undefined
        : sortedMap(
            Object.fromEntries(
              Object.entries(detail.layers).map(([step, stacks]) => [
                step,
                stacks.map((stack) => stack.map(encodeDescriptor)),
              ]),
            ),
          ),
  });
}

function sourceJson({ infos, locations }: Detail): Json {
  const places = [...locations].map(([step, at]) => [
    `step${step}`,
    {
      locations: at.map(({ sourceIndex, start, end }) => ({
        ...(sourceIndex === 0 ? {} : { sourceIndex }),
        ranges: [{ start: positionJson(start), end: positionJson(end) }],
      })),
    },
  ]);
  return withoutEmpty({
    locations: sortedMap(Object.fromEntries(places) as Json),
    infos: infos.map(({ filename, language, data, config }) =>
      withoutEmpty({
        filename,
        language,
        data: Buffer.from(data).toString("base64"),
        llbDefinition: config?.steps,
        digestMapping: config?.digestMapping,
      }),
    ),
  });
}

function positionJson({ line, character }: Position): Json {
  return { line, ...(character === 0 ? {} : { character }) };
}
