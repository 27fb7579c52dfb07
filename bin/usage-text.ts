// Output of du and prune: what the store contains.

import { type Column, humanDuration, humanSize, renderTable } from "./format.ts";
import { isNameless } from "../cache/image-record.ts";
import { familiarReference, parseReference } from "../cache/registry/reference.ts";
import { cleanText } from "./log-text.ts";
import type { UsageEntry } from "../cache/usage-entry.ts";

const KINDS: readonly (readonly [kind: UsageEntry["kind"], one: string, many: string])[] = [
  ["layer", "layer", "layers"],
  ["blob", "blob", "blobs"],
  ["cache-mount", "cache mount", "cache mounts"],
  ["source", "synced context", "synced contexts"],
  ["record", "record", "records"],
];
/** Characters of an ID that tell it from others, of a description that still fit a line. */
const ID_CHARS = 19;
const DESCRIPTION_CHARS = 60;

/** Kinds with how many there are, how many are in use and what could be had back, as `docker system df` has it. */
export function usageSummary(entries: readonly UsageEntry[]): string {
  const rows = KINDS.flatMap(([kind, , many]) => {
    const all = entries.filter((entry) => entry.kind === kind);
    if (all.length === 0 && kind === "source") return []; // only daemons have them
    const free = all.filter(({ reclaimable }) => reclaimable);
    const [bytes, freeBytes] = [sumOf(all), sumOf(free)];
    const share = bytes === 0 ? 0 : Math.floor((freeBytes / bytes) * 100);
    return {
      title: `${many.charAt(0).toUpperCase()}${many.slice(1)}`,
      count: String(all.length),
      used: String(all.filter(({ inUse }) => inUse).length),
      size: humanSize(bytes),
      free: `${humanSize(freeBytes)} (${share}%)`,
    };
  });
  return renderTable(
    [
      { title: "TYPE", of: (row) => row.title },
      { title: "TOTAL", of: (row) => row.count },
      { title: "ACTIVE", of: (row) => row.used },
      { title: "SIZE", of: (row) => row.size },
      { title: "RECLAIMABLE", of: (row) => row.free },
    ],
    rows,
  );
}

/** "Removed 3 layers (1.2MB), 1 cache mount (5kB)"; "" for nothing. */
export function removedSummary(removed: readonly UsageEntry[]): string {
  const parts = KINDS.flatMap(([kind, one, many]) => {
    const all = removed.filter((entry) => entry.kind === kind);
    return all.length === 0
      ? []
      : [`${all.length} ${all.length === 1 ? one : many} (${humanSize(sumOf(all))})`];
  });
  return parts.length === 0 ? "" : `Removed ${parts.join(", ")}\n`;
}

/** Columns about one entry. Whole: nothing is cut. */
export function usageColumns({ whole, nowMs }: { readonly whole: boolean; readonly nowMs: number }): {
  readonly [name in
    | "id"
    | "type"
    | "reclaimable"
    | "size"
    | "lastUsed"
    | "image"
    | "description"]: Column<UsageEntry>;
} {
  return {
    id: { title: "ID", of: ({ id }) => (whole ? id : id.slice(0, ID_CHARS)) },
    type: { title: "TYPE", of: ({ kind }) => kind },
    reclaimable: { title: "RECLAIMABLE", of: ({ reclaimable }) => String(reclaimable) },
    size: { title: "SIZE", of: ({ sizeBytes }) => humanSize(sizeBytes) },
    lastUsed: { title: "LAST ACCESSED", of: (entry) => lastUsed(entry, nowMs) },
    image: {
      title: "IMAGE",
      of: ({ images }) => {
        const [first, ...more] = images.map((name) => {
          if (isNameless(name)) return whole ? name : name.slice(0, ID_CHARS);
          return familiarReference(parseReference(name));
        });
        if (first === undefined) return "-";
        return whole ? [first, ...more].join(", ") : `${first}${more.length === 0 ? "" : ` +${more.length}`}`;
      },
    },
    description: {
      title: "DESCRIPTION",
      of: (entry) => {
        const text = words(entry);
        return whole || text.length <= DESCRIPTION_CHARS ? text : `${text.slice(0, DESCRIPTION_CHARS - 1)}…`;
      },
    },
  };
}

function words({ description, images, kind }: UsageEntry): string {
  // Documents have no words of their own.
  if (kind === "blob" && (description === "" || images.includes(description))) {
    return images.length > 0 ? "of the image" : "of an image without a name";
  }
  return cleanText(description)
    .replace(/\s+/g, " ")
    .replace(/^\/bin\/sh -c /, "RUN ");
}

export function lastUsed({ lastUsedMs }: UsageEntry, nowMs: number): string {
  return lastUsedMs === 0 ? "" : `${humanDuration(Math.max(0, nowMs - lastUsedMs))} ago`;
}

function sumOf(entries: readonly UsageEntry[]): number {
  return entries.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
}
