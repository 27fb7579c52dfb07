// Bytes that come in from elsewhere, as a blob of the content store.

import { createHash } from "node:crypto";
import type { Store } from "../../cache/contract.ts";
import { type Digest, digestFromHex } from "../../solver/graph/digest.ts";
import { BuildError, redactUrl } from "../../solver/graph/error.ts";

/** Stores what comes; `isWhole` may refuse it by its size. Throws LIMIT_EXCEEDED with the address, STORE_FULL, and what the source throws. */
export async function receive(
  data: AsyncIterable<Uint8Array>,
  store: Store,
  {
    address,
    maxBytes,
    isWhole = () => {},
  }: {
    readonly address: string;
    readonly maxBytes: number;
    readonly isWhole?: (size: number) => void;
  },
): Promise<Digest> {
  await using ingest = store.content.ingest();
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of data) {
    size += chunk.length;
    if (size > maxBytes)
      throw new BuildError("LIMIT_EXCEEDED", `${redactUrl(address)} is larger than ${maxBytes} bytes`);
    hash.update(chunk);
    ingest.write(chunk);
  }
  isWhole(size);
  const digest = digestFromHex(hash.digest("hex"));
  ingest.commit({ digest, size, trusted: true });
  return digest;
}
