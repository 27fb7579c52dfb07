// Which blobs of a step's earlier layers are known block by block, so that a layer that is nearly the same takes over what is equal
// (layers/earlier-blocks.ts).

import { createHash } from "node:crypto";
import type { Digest } from "../solver/graph/digest.ts";
import type { BlockIndex, EarlierBlob } from "./layers/earlier-blocks.ts";
import type { ContentStore, Records } from "./contract.ts";

/** Space of the records that holds indexes of blobs, the latest first, by format and step. */
const BLOCKS_SPACE = "blocks";
/** Blobs remembered for one step: other projects have steps of the same name. */
const BLOBS_MAX = 4;
/** Characters of the indexes of one step together: what is sent to the keeper before a layer is packed. */
const INDEX_CHARS_MAX = 2 << 20;

interface Indexed extends BlockIndex {
  readonly digest: Digest;
}

/** Blobs in this format of layers that the step (LayerRecord.description) made before. */
export function earlierBlobs(
  { records, content }: { readonly records: Pick<Records, "get">; readonly content: ContentStore },
  form: string,
  step: string,
): readonly EarlierBlob[] {
  const known = records.get<readonly Indexed[]>(BLOCKS_SPACE, keyOf(form, step)) ?? [];
  return known
    .filter(({ digest }) => content.has(digest))
    .map(({ digest, compressor, blocks }) => ({ path: content.path(digest), compressor, blocks }));
}

/** Remembers the blocks of a blob that has just been written. */
export function noteBlocks(
  records: Pick<Records, "merge">,
  form: string,
  step: string,
  indexed: Indexed,
): void {
  records.merge<readonly Indexed[]>(BLOCKS_SPACE, keyOf(form, step), (known) => {
    let room = INDEX_CHARS_MAX;
    return [indexed, ...(known ?? []).filter(({ digest }) => digest !== indexed.digest)]
      .slice(0, BLOBS_MAX)
      .filter(({ blocks }) => (room -= blocks.length) >= 0);
  });
}

function keyOf(form: string, step: string): string {
  return `${form} ${createHash("sha256").update(step).digest("hex")}`;
}
