// Annotations of outputs: their target and platform. buildx --annotation, BuildKit exptypes/annotations.go.

import type { Index, Manifest } from "../cache/registry/documents.ts";
import { BuildError, printable } from "../solver/graph/error.ts";
import { formatPlatform, type Platform } from "../solver/graph/op.ts";
import type { Descriptor } from "../solver/graph/request.ts";

export type AnnotationTarget = "manifest" | "manifest-descriptor" | "index" | "index-descriptor";

export interface Annotation {
  readonly target: AnnotationTarget;
  /** "linux/arm64": only that platform's; null: all. */
  readonly platform: string | null;
  readonly key: string;
  readonly value: string;
}

/** What applies to one manifest (or, for platform null, to the index). */
export interface AppliedAnnotations {
  readonly manifest: Readonly<Record<string, string>>;
  readonly manifestDescriptor: Readonly<Record<string, string>>;
  readonly index: Readonly<Record<string, string>>;
  readonly indexDescriptor: Readonly<Record<string, string>>;
}

const TARGETS: readonly AnnotationTarget[] = ["manifest", "manifest-descriptor", "index", "index-descriptor"];

/** Reads an output attribute `annotation[-TARGET][[PLATFORM]].KEY`; null when it is no annotation. Throws OUTPUT_INVALID. */
export function parseAnnotationAttribute(name: string, value: string): Annotation | null {
  const match = /^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/.-]+)\])?\.(\S+)$/.exec(name);
  if (match === null) {
    if (/^annotation(?:[-[.]|$)/.test(name))
      throw new BuildError("OUTPUT_INVALID", `invalid annotation: ${printable(name, 100)}`);
    return null;
  }
  return {
    target: targetOf(match[1] ?? "manifest"),
    platform: match[2] ?? null,
    key: match[3] as string,
    value,
  };
}

/** Reads the value of --annotation: `[TARGET[[PLATFORM]][,TARGET…]:]KEY=VALUE`. Throws OUTPUT_INVALID. */
export function parseAnnotationFlag(text: string): readonly Annotation[] {
  const equals = text.indexOf("=");
  if (equals < 0) {
    throw new BuildError(
      "OUTPUT_INVALID",
      `invalid annotation ${JSON.stringify(printable(text, 100))}, expected key=value`,
    );
  }
  const name = text.slice(0, equals);
  const value = text.slice(equals + 1);
  const prefixed =
    /^((?:[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?)(?:,[a-z-]+(?:\[[A-Za-z0-9_/.-]+\])?)*):(\S+)$/.exec(name);
  const key = prefixed?.[2] ?? name;
  if (key === "" || /\s/.test(key)) {
    throw new BuildError("OUTPUT_INVALID", `invalid annotation key ${JSON.stringify(printable(key, 100))}`);
  }
  return (prefixed?.[1] ?? "manifest").split(",").map((part) => {
    const [, target = "", platform] = /^([a-z-]+)(?:\[(.+)\])?$/.exec(part) ?? [];
    return { target: targetOf(target), platform: platform ?? null, key, value };
  });
}

function targetOf(text: string): AnnotationTarget {
  const target = TARGETS.find((one) => one === text);
  if (target === undefined) {
    throw new BuildError("OUTPUT_INVALID", `unknown annotation type ${JSON.stringify(printable(text, 60))}`, {
      hint: `types are ${TARGETS.join(", ")}`,
    });
  }
  return target;
}

/** What the documents of an image say, as the annotations that make them say it again. `descriptor`: of the manifest or index;
 *  `index`: null where there is none. */
export function annotationsIn(
  descriptor: Descriptor,
  index: Index | null,
  manifests: readonly {
    readonly platform: Platform;
    readonly descriptor: Descriptor;
    readonly manifest: Manifest;
  }[],
): readonly Annotation[] {
  const all = (
    target: AnnotationTarget,
    platform: string | null,
    said: Readonly<Record<string, string>> | undefined,
  ): readonly Annotation[] =>
    Object.entries(said ?? {}).map(([key, value]) => ({ target, platform, key, value }));
  return [
    ...(index === null
      ? []
      : [...all("index", null, index.annotations), ...all("index-descriptor", null, descriptor.annotations)]),
    ...manifests.flatMap(({ platform, descriptor: own, manifest }) => [
      ...all("manifest", formatPlatform(platform), manifest.annotations),
      ...all("manifest-descriptor", formatPlatform(platform), own.annotations),
    ]),
  ];
}

/** Annotations for a platform: those of all platforms, then its own. Index ones do not depend on a platform. */
export function annotationsFor(
  annotations: readonly Annotation[],
  platform: Platform | null,
): AppliedAnnotations {
  const own = platform === null ? null : formatPlatform(platform);
  const pick = (target: AnnotationTarget) => {
    const fitting = annotations.filter((one) => one.target === target);
    const isIndex = target === "index" || target === "index-descriptor";
    const general = fitting.filter((one) => isIndex || one.platform === null);
    const special = isIndex ? [] : fitting.filter((one) => one.platform !== null && one.platform === own);
    return Object.fromEntries([...general, ...special].map(({ key, value }) => [key, value]));
  };
  return {
    manifest: pick("manifest"),
    manifestDescriptor: pick("manifest-descriptor"),
    index: pick("index"),
    indexDescriptor: pick("index-descriptor"),
  };
}
