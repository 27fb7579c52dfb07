// Annotations of a layer that say where its blob has a table of contents, for lazy pulls: without them no reader looks for it. They belong
// to the blob, so they come along wherever it is named again. What they say is not checked here: we never read such a table, and who
// does compares it with the digest in the annotation.

import type { Descriptor } from "../solver/graph/request.ts";

/** Annotation of a layer's descriptor: its diffId. containerd labels.LabelUncompressed. */
export const DIFF_ID_ANNOTATION = "containerd.io/uncompressed";

/** Longer ones are not of these formats. Characters. */
const VALUE_MAX = 256;

/** stargz-snapshotter, estargz/types.go. The size is for containers/storage, which has to know it before it has the layer. */
export const ESTARGZ = {
  tableDigest: "containerd.io/snapshot/stargz/toc.digest",
  uncompressedSize: "io.containers.estargz.uncompressed-size",
} as const;
/** github.com/containers/storage, pkg/chunked/internal/minimal. */
export const ZSTD_CHUNKED = {
  manifestChecksum: "io.github.containers.zstd-chunked.manifest-checksum",
  manifestPosition: "io.github.containers.zstd-chunked.manifest-position",
  tarSplitPosition: "io.github.containers.zstd-chunked.tarsplit-position",
} as const;
const ALL: readonly string[] = [...Object.values(ESTARGZ), ...Object.values(ZSTD_CHUNKED)];

/** Which table a blob is said to have; null: none. */
export function tableOf({ annotations }: Descriptor): "estargz" | "zstd:chunked" | null {
  if (annotations?.[ESTARGZ.tableDigest] !== undefined) return "estargz";
  return annotations?.[ZSTD_CHUNKED.manifestChecksum] !== undefined ? "zstd:chunked" : null;
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
