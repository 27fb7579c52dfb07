// What "image inspect --layers" and "--files" print.

import { formatPlatform } from "../solver/graph/op.ts";
import type { LayerFile, LayerReport } from "./engine/images/contract.ts";
import { type Fields, humanSize, renderTable } from "./format.ts";
import { cleanText } from "./log-text.ts";

const CREATED_BY_MAX = 80;

/** Tables: the steps, then the largest files and those that are gone. */
export function reportText(report: LayerReport, withLayers: boolean): string {
  const { layers, largest, wasted, name, platform, digest } = report;
  const isRead = layers.some(({ fileBytes }) => fileBytes !== null);
  const sum = (of: (layer: LayerReport["layers"][number]) => number | null): number =>
    layers.reduce((total, layer) => total + (of(layer) ?? 0), 0);
  const parts = [
    `${cleanText(name)}  ${formatPlatform(platform)}  ${digest}\n`,
    `${layers.length} layers, ${humanSize(sum(({ descriptor }) => descriptor.size))} compressed${
      isRead
        ? `, ${humanSize(sum(({ fileBytes }) => fileBytes))} of files, ${humanSize(sum(({ wastedBytes }) => wastedBytes))} of these replaced or deleted again`
        : ""
    }\n`,
  ];
  if (withLayers) {
    parts.push(
      "\n",
      renderTable(
        [
          { title: "LAYER", of: (row) => String(row.layer) },
          { title: "SIZE", of: (row) => humanSize(row.descriptor.size) },
          ...(isRead
            ? [
                { title: "FILES", of: (row: LayerReport["layers"][number]) => String(row.files ?? 0) },
                { title: "BYTES", of: (row: LayerReport["layers"][number]) => humanSize(row.fileBytes ?? 0) },
                {
                  title: "WASTED",
                  of: (row: LayerReport["layers"][number]) => humanSize(row.wastedBytes ?? 0),
                },
              ]
            : []),
          {
            title: "DIGEST",
            of: (row) => row.descriptor.digest.slice("sha256:".length, "sha256:".length + 12),
          },
          { title: "CREATED BY", of: (row) => shortened(row.createdBy) },
        ],
        layers,
      ),
    );
  }
  if (!isRead) return parts.join("");
  const files = (rows: readonly LayerFile[], isGone: boolean): string =>
    renderTable(
      [
        { title: "SIZE", of: (row) => humanSize(row.bytes) },
        { title: "LAYER", of: (row) => String(row.layer) },
        ...(isGone ? [{ title: "GONE IN", of: (row: LayerFile) => String(row.goneIn) }] : []),
        { title: isGone ? "REPLACED OR DELETED" : "LARGEST FILES", of: (row) => cleanText(row.path) },
      ],
      rows,
    );
  parts.push("\n", files(largest, false));
  if (wasted.length > 0) parts.push("\n", files(wasted, true));
  return parts.join("");
}

function shortened(text: string): string {
  const line = cleanText(text).replace(/\s+/g, " ");
  return line.length > CREATED_BY_MAX ? `${line.slice(0, CREATED_BY_MAX - 1)}…` : line;
}

/** The same for --format. */
export function reportFields({ name, platform, digest, layers, largest, wasted }: LayerReport): Fields {
  const file = ({ path, bytes, layer, goneIn }: LayerFile): Fields => ({
    ...{ Path: path, Bytes: bytes, Layer: layer },
    ...(goneIn === null ? {} : { GoneIn: goneIn }),
  });
  return {
    Name: name,
    Platform: formatPlatform(platform),
    Digest: digest,
    Layers: layers.map(({ layer, descriptor, diffId, createdBy, files, fileBytes, wastedBytes }) => ({
      ...{ Layer: layer, Digest: descriptor.digest, DiffID: diffId, MediaType: descriptor.mediaType },
      ...{ Size: descriptor.size, CreatedBy: createdBy },
      ...(files === null ? {} : { Files: files, Bytes: fileBytes, WastedBytes: wastedBytes }),
    })),
    Largest: largest.map(file),
    Wasted: wasted.map(file),
  };
}
