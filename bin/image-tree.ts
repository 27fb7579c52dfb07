// An image as a tree, for people and as fields.

import { formatPlatform } from "../solver/graph/op.ts";
import type { Descriptor } from "../solver/graph/request.ts";
import type { GraphNode } from "./engine/images/contract.ts";
import { humanSize } from "./format.ts";
import { cleanText } from "./log-text.ts";

/** One line of the tree, with the lines below it. */
export interface TreeFields {
  readonly [name: string]: unknown;
  /** index, manifest, attestation, config, layer; of an attestation its predicate type. */
  readonly Kind: string;
  readonly Name: string;
  readonly Digest: string;
  readonly MediaType: string;
  /** Of the document or blob itself, in bytes. */
  readonly Size: number;
  /** With everything below it, each blob once. */
  readonly TotalSize: number;
  readonly Children: readonly TreeFields[];
}

/** The tree of a graph; `name` is what its top is called. */
export function treeFields(name: string, node: GraphNode): TreeFields {
  return fieldsOf(node, name, new Map());
}

function fieldsOf(node: GraphNode, name: string, known: Map<string, string>): TreeFields {
  const { descriptor, document } = node;
  const about = descriptor.annotations?.["vnd.docker.reference.digest"];
  const isAttestation = about !== undefined;
  const { platform } = descriptor;
  const shown = platform === undefined || platform.os === "unknown" ? "" : formatPlatform(platform);
  known.set(descriptor.digest, shown);
  const blobs =
    document?.kind === "manifest"
      ? [
          leaf(isConfig(document.config) ? "config" : "artifact", "", document.config),
          ...document.layers.map((layer) => {
            const predicate = layer.annotations?.["in-toto.io/predicate-type"];
            return leaf(predicate === undefined ? "layer" : "statement", predicate ?? "", layer);
          }),
        ]
      : [];
  const children = [...node.children.map((child) => fieldsOf(child, "", known)), ...blobs];
  const sizes = new Map<string, number>([[descriptor.digest, descriptor.size]]);
  const collect = (fields: TreeFields): void => {
    sizes.set(fields.Digest, fields.Size);
    fields.Children.forEach(collect);
  };
  children.forEach(collect);
  const of = about === undefined ? "" : `of ${known.get(about) || about}`;
  return {
    Kind: document === null ? "missing" : isAttestation ? "attestation" : document.kind,
    Name: cleanText(name || of || shown),
    Digest: descriptor.digest,
    MediaType: cleanText(descriptor.mediaType),
    Size: descriptor.size,
    TotalSize: [...sizes.values()].reduce((sum, size) => sum + size, 0),
    Children: children,
  };
}

function isConfig({ mediaType }: Descriptor): boolean {
  return /\.(?:config|container\.image)\.v1\+json$/.test(mediaType);
}

function leaf(kind: string, name: string, { digest, mediaType, size }: Descriptor): TreeFields {
  const shown = { Name: cleanText(name), MediaType: cleanText(mediaType) };
  return { Kind: kind, ...shown, Digest: digest, Size: size, TotalSize: size, Children: [] };
}

/** Lines with branches; digests are cut to 12 digits unless `isWhole`. */
export function treeText(name: string, node: GraphNode, isWhole: boolean): string {
  const lines: { readonly left: string; readonly size: string; readonly rest: string }[] = [];
  const visit = (fields: TreeFields, lead: string, branch: string): void => {
    const { Kind, Name, Digest, Size, TotalSize, MediaType, Children } = fields;
    const digest = isWhole ? Digest : Digest.slice("sha256:".length, "sha256:".length + 12);
    const compression = Kind === "layer" ? (/[.+](gzip|zstd)$/.exec(MediaType)?.[1] ?? "tar") : "";
    const words = [Name, Kind, compression].filter((one) => one !== "");
    const total = Children.length === 0 ? "" : `  (${humanSize(TotalSize)} in all)`;
    lines.push({
      left: `${lead}${branch}${words.join(" ")}`,
      size: humanSize(Size),
      rest: `${digest}${total}`,
    });
    const next = branch === "" ? lead : `${lead}${branch === "└── " ? "    " : "│   "}`;
    for (const [at, child] of Children.entries())
      visit(child, next, at === Children.length - 1 ? "└── " : "├── ");
  };
  visit(treeFields(name, node), "", "");
  const width = lines.reduce((most, { left }) => Math.max(most, left.length), 0);
  const sizes = lines.reduce((most, { size }) => Math.max(most, size.length), 0);
  return lines
    .map(({ left, size, rest }) => `${left.padEnd(width)}  ${size.padStart(sizes)}  ${rest}\n`)
    .join("");
}
