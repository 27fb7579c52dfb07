// One line of `du`.

/** One line of `du`. */
export interface UsageEntry {
  readonly id: string;
  readonly kind: "layer" | "blob" | "cache-mount" | "source" | "record";
  readonly sizeBytes: number;
  /** More than one record or image leads to it. */
  readonly shared: boolean;
  readonly inUse: boolean;
  readonly reclaimable: boolean;
  readonly lastUsedMs: number;
  /** What made it. */
  readonly description: string;
  /** Names of the images that lead to it, in their order. */
  readonly images: readonly string[];
}
