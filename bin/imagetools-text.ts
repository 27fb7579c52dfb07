// The text of "imagetools inspect" without a format. buildx: util/imagetools/printers.go; text/tabwriter.

import { readRawIndex, type RawDescriptor } from "../exporters/raw-index.ts";
import { cleanText } from "./log-text.ts";
import type { GraphNode } from "./engine/images/contract.ts";

type Row = readonly [left: string, right: string];

/** `name`: the whole name, with tag or digest. */
export function inspectText(name: string, { bytes, descriptor, document }: GraphNode): string {
  const head = rows([
    ["Name:", name],
    ["MediaType:", descriptor.mediaType],
    ["Digest:", descriptor.digest],
  ]);
  if (document?.kind !== "index" || bytes === null) return head;
  const repository = name.replace(/@sha256:[0-9a-f]{64}$/, "");
  const parts: string[] = [
    head,
    rows([
      ["", ""],
      ["Manifests:", ""],
    ]),
  ];
  let open: Row[] = [];
  for (const [at, entry] of readRawIndex(bytes).manifests.entries()) {
    if (at > 0) open.push(["", ""]);
    open.push(
      ["  Name:", `${repository}@${String(entry["digest"])}`],
      ["  MediaType:", String(entry["mediaType"])],
    );
    open.push(...platformRows(entry));
    const annotations = Object.entries((entry["annotations"] ?? {}) as Record<string, string>);
    if (annotations.length === 0) continue;
    // Columns end here: those of the annotations are their own.
    parts.push(
      rows([...open, ["  Annotations:", ""]]),
      rows(
        annotations.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [`    ${key}:`, value]),
      ),
    );
    open = [];
  }
  return [...parts, rows(open)].join("");
}

function platformRows(entry: RawDescriptor): readonly Row[] {
  const platform = entry["platform"] as Record<string, unknown> | null | undefined;
  if (platform === null || platform === undefined) return [];
  const { os = "", architecture = "", variant = "" } = platform;
  const version = platform["os.version"];
  const features = textsOf(platform["os.features"]);
  const urls = textsOf(entry["urls"]);
  const shown = [os || "unknown", architecture, variant].filter((part) => part !== "").join("/");
  return [
    ["  Platform:", shown],
    ...(typeof version !== "string" || version === "" ? [] : [["  OSVersion:", version] as const]),
    ...(features.length === 0 ? [] : [["  OSFeatures:", features.join(", ")] as const]),
    ...(urls.length === 0 ? [] : [["  URLs:", urls.join(", ")] as const]),
  ];
}

/** Nobody has checked these fields. */
function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

function rows(all: readonly Row[]): string {
  const width = all.reduce((most, [left]) => Math.max(most, left.length), 0) + 1;
  return all.map(([left, right]) => `${cleanText(left).padEnd(width)}${cleanText(right)}\n`).join("");
}
