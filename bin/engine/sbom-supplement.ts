// What only the builder can add to a bill of materials that somebody else made: the layer that brought each file. BuildKit: supplementSBOM in
// exporter/containerimage/attestations.go.

import type { AttestedImage } from "../../exporters/contract.ts";
import type { Digest } from "../../solver/graph/digest.ts";
import type { CallContext } from "../../solver/graph/request.ts";
import type { Keeper } from "../../worker/keeper/keeper.ts";
import type { LocalWorker } from "../../worker/worker.ts";

/** Files of a document that are looked for; the others stay as they are. */
const FILES_MAX = 200_000;

export interface SupplementDeps {
  readonly keeper: () => Keeper;
  readonly unpacker: LocalWorker["unpacker"];
  /** The step in which unpacking is shown. */
  readonly vertex: Digest;
  readonly context: CallContext;
  /** Version of this program. */
  readonly version: string;
}

/** Gives an SPDX document (JSON text) of an image the digest of the layer of each file, as a comment of files that have none. What is no such
 *  document stays as it is, and so does one beside exported files, which have no layers. */
export type Supplement = (document: string, image: AttestedImage) => Promise<string>;

export function openSupplement({ keeper, unpacker, vertex, context, version }: SupplementDeps): Supplement {
  return async (text, { layers }) => {
    if (layers === null || layers.length === 0) return text;
    const document = JSON.parse(text) as SpdxFields;
    if (!isObject(document) || !/^SPDX-2\.\d+$/.test(String(document.spdxVersion))) return text;
    const files = (Array.isArray(document.files) ? document.files : []).filter(isUncommented);
    const wanted = files.slice(0, FILES_MAX);
    const dirs: string[] = [];
    for (const { id } of layers) dirs.push(...(await unpacker.directories([id], vertex, context)));
    const paths = wanted.map(({ fileName }) => fileName);
    const found =
      wanted.length === 0
        ? []
        : await keeper().run({ kind: "layer-of", layers: dirs, paths }, { signal: context.signal });
    for (const [index, file] of wanted.entries()) {
      const layer = layers[found[index] ?? -1];
      if (layer !== undefined) file.comment = `layerID: ${layer.descriptor.digest}`;
    }
    const info = isObject(document.creationInfo) ? document.creationInfo : {};
    const creators = Array.isArray(info.creators) ? info.creators : [];
    document.creationInfo = { ...info, creators: [...creators, `Tool: tsbuild-${version}`] };
    return written(document) ?? text;
  };
}

interface SpdxFields extends Record<string, unknown> {
  files?: unknown;
  creationInfo?: unknown;
}

/** null: it is nested too deep to be written, which nothing is that describes packages. */
function written(document: SpdxFields): string | null {
  try {
    return JSON.stringify(document);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A comment that is there may mean anything to who wrote it. */
function isUncommented(file: unknown): file is { readonly fileName: string; comment?: string } {
  return isObject(file) && typeof file["fileName"] === "string" && (file["comment"] ?? "") === "";
}
