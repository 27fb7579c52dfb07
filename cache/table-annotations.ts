// Annotations of a layer that say where its blob has a table of contents, for lazy pulls: without them no reader looks for it. They belong
// to the blob, so they come along wherever it is named again. What they say is not checked here: we never read such a table, and who
// does compares it with the digest in the annotation.

import type { Descriptor } from "../solver/graph/request.ts";

/** Annotation of a layer's descriptor: its diffId. containerd labels.LabelUncompressed. */
export const DIFF_ID_ANNOTATION = "containerd.io/uncompressed";

/** Longer ones are not of these formats. Characters. */
const VALUE_MAX = 256;

/** stargz-snapshotter, estargz/types.go. */
const ESTARGZ = ["containerd.io/snapshot/stargz/toc.digest", "io.containers.estargz.uncompressed-size"];
/** github.com/containers/storage, pkg/chunked/internal/minimal. */
const ZSTD_CHUNKED = ["manifest-checksum", "manifest-position", "tarsplit-position"].map(
  (name) => `io.github.containers.zstd-chunked.${name}`,
);
const ALL = [...ESTARGZ, ...ZSTD_CHUNKED];

/** Which table a blob is said to have; null: none. */
export function tableOf({ annotations }: Descriptor): "estargz" | "zstd:chunked" | null {
  if (annotations?.[ESTARGZ[0] as string] !== undefined) return "estargz";
  return annotations?.[ZSTD_CHUNKED[0] as string] !== undefined ? "zstd:chunked" : null;
}

/** Those of the annotations that are about a table. */
export function tableAnnotations({ annotations = {} }: Descriptor): Readonly<Record<string, string>> {
  const kept = ALL.flatMap((key) => {
    const value = annotations[key];
    return value === undefined || value.length > VALUE_MAX ? [] : [[key, value] as const];
  });
  return Object.fromEntries(kept);
}

/** The blob of a descriptor, with what is said of its table, and no more. */
export function withTable(descriptor: Descriptor): Descriptor {
  const { mediaType, digest, size } = descriptor;
  const annotations = tableAnnotations(descriptor);
  return { mediaType, digest, size, ...(Object.keys(annotations).length > 0 && { annotations }) };
}
