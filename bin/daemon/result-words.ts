// What a frontend says of its result in metadata, beside images and their configs. Keys of BuildKit's exptypes.

import { parseAnnotationAttribute } from "../../exporters/annotations.ts";
import { BuildError } from "../../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../../solver/graph/op.ts";
import { hostPlatform } from "../../solver/graph/platform.ts";
import type { ResultWords } from "../engine/bridge-contract.ts";
import { parsePlatforms } from "../flags-values.ts";
import type { Attributes } from "./attributes.ts";

const EPOCH = "source.date.epoch";

type Metadata = Readonly<Record<string, Uint8Array>>;

/** Annotations, name and answer of a result. Throws OUTPUT_INVALID for an annotation that is none. */
export function wordsIn(metadata: Metadata): ResultWords {
  const name = metadata["image.name"];
  return {
    annotations: Object.entries(metadata).flatMap(([key, value]) => {
      const annotation = parseAnnotationAttribute(key, textOf(value));
      return annotation === null ? [] : [annotation];
    }),
    imageName: name === undefined ? null : textOf(name),
    response: Object.fromEntries(
      Object.entries(metadata).flatMap(([key, value]) =>
        key.startsWith("frontend.") ? [[key, textOf(value)]] : [],
      ),
    ),
  };
}

/** SOURCE_DATE_EPOCH of a result whose frontend says one; else `given`. Throws OUTPUT_INVALID. */
export function epochIn(metadata: Metadata, given: number | null): number | null {
  const data = metadata[EPOCH];
  if (data === undefined) return given;
  const text = textOf(data);
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw new BuildError("OUTPUT_INVALID", `${EPOCH} of the result is not a number of seconds`);
}

/** What is wrong with the platforms of a result, for who asked for others; null: nothing. */
export function platformWarning(
  options: Attributes,
  platforms: readonly Platform[],
  multiPlatform: boolean,
): string | null {
  const asked = options["platform"] ?? "";
  const wanted = asked === "" ? [hostPlatform()] : parsePlatforms([asked]);
  const names = (all: readonly Platform[]): string[] => [...new Set(all.map(formatPlatform))].sort();
  const [wantedNames, madeNames] = [names(wanted), names(platforms)];
  if (wantedNames.join() === madeNames.join()) return null;
  if (wantedNames.length === 1 && madeNames.length === 1)
    return `Requested platform "${wantedNames[0]}" does not match result platform "${madeNames[0]}"`;
  if (!multiPlatform && wantedNames.length > 1)
    return "Multiple platforms requested but result is not multi-platform";
  return `Requested platforms ${wantedNames.join(",")} do not match result platforms ${madeNames.join(",")}`;
}

function textOf(data: Uint8Array): string {
  return Buffer.from(data).toString();
}
