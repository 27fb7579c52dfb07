// Writing a block blob of Azure: whole, or in blocks of which each can be sent again.
// https://learn.microsoft.com/rest/api/storageservices/put-blob, put-block, put-block-list

import { BuildError } from "../../solver/graph/error.ts";
import { sendPieces } from "./pieces.ts";
import type { WebCall } from "./web-calls.ts";

const BLOCKS_MAX = 50_000;
const BLOCKS_AT_ONCE = 2;

/** One PUT on the blob. */
export interface BlockPut {
  /** Parameters of the query beside those of the address, in their order. */
  readonly query: readonly (readonly [string, string])[];
  readonly headers: Readonly<Record<string, string>>;
  readonly body: NonNullable<WebCall["body"]>;
  readonly size: number;
  /** This one makes the blob be there. */
  readonly isLast: boolean;
  readonly signal: AbortSignal;
}

/** Sends a blob of `size` bytes. Larger ones than two blocks go in blocks of at least `blockBytes`. Throws STORE_CORRUPT when there were not
 *  as many bytes, and what `put` throws. */
export async function sendBlockBlob(
  { size, open }: { readonly size: number; readonly open: () => AsyncIterable<Uint8Array> },
  { blockBytes, signal }: { readonly blockBytes: number; readonly signal: AbortSignal },
  put: (block: BlockPut) => Promise<void>,
): Promise<void> {
  const type = { "content-type": "application/octet-stream" };
  if (size <= 2 * blockBytes) {
    const headers = { ...type, "x-ms-blob-type": "BlockBlob" };
    return await put({ query: [], headers, body: open, size, isLast: true, signal });
  }
  const ids: string[] = [];
  const bytesEach = Math.max(blockBytes, Math.ceil(size / BLOCKS_MAX));
  const sent = await sendPieces(open(), bytesEach, BLOCKS_AT_ONCE, { signal }, async (piece, pieceSignal) => {
    const { bytes: body, index } = piece;
    const id = Buffer.from(String(index).padStart(8, "0")).toString("base64"); // all of one length
    ids[index] = id;
    const query = [
      ["comp", "block"],
      ["blockid", id],
    ] as const;
    await put({ query, headers: type, body, size: body.length, isLast: false, signal: pieceSignal });
  });
  if (sent !== size) throw new BuildError("STORE_CORRUPT", `a blob of ${size} bytes has ${sent} on disk`);
  const list = ids.map((id) => `<Latest>${id}</Latest>`).join("");
  const body = Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`);
  const headers = { "content-type": "application/xml" };
  await put({ query: [["comp", "blocklist"]], headers, body, size: body.length, isLast: true, signal });
}
