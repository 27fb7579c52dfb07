// Downloads a blob over unreliable connections: resumed where it broke off, by several connections where one is slow (ranged.ts), and
// verified.

import { createHash } from "node:crypto";
import { hexOf } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import { checkPart, openRetries, protocol, type ResumedBlob } from "./blob-range.ts";
import { Fault } from "./exchange.ts";
import { openRanges, type Ranges } from "./ranged.ts";

/** Size and digest are verified before the last chunk is over. Throws REGISTRY_PROTOCOL, DIGEST_MISMATCH, and what `ask` and
 *  `unreachable` give. */
export async function* resumedBlob(blob: ResumedBlob): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor, name, sender, onBytes } = blob;
  const { digest, size } = descriptor;
  const hash = createHash("sha256");
  const take = (chunk: Uint8Array, current: number): void => {
    hash.update(chunk);
    onBytes?.(current, size);
  };
  using _connection = blob.connections.begin();
  const ranges = openRanges(blob);
  try {
    yield* oneStream(blob, 0, take, ranges);
    if (ranges !== null && ranges.at < size) {
      for await (const chunk of ranges.take()) {
        take(chunk, ranges.at);
        yield chunk;
      }
      await ranges.close(); // what did not come in parts comes by one stream
      yield* oneStream(blob, ranges.at, take, null);
    }
  } finally {
    await ranges?.close();
  }
  const actual = hash.digest("hex");
  if (actual !== hexOf(digest)) throw wrongDigest(name, sender, digest, `sha256:${actual}`);
}

/** The bytes from `start` on by one connection at a time, to the end, or to where `ranges` go on. `take` is told of each chunk first. */
async function* oneStream(
  blob: ResumedBlob,
  start: number,
  take: (chunk: Uint8Array, current: number) => void,
  ranges: Ranges | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal } = blob;
  const { size } = blob.descriptor;
  const retries = openRetries(blob);
  let received = start;
  while (received < size) {
    const startedAt = received;
    try {
      const range = { start: received, end: null, signal };
      const answer = await blob.ask(range);
      // 200 to a range: the other side starts over, what we have is skipped.
      let skip = answer.status === 200 ? received : 0;
      if (answer.status !== 200) await checkPart(blob, answer, range);
      ranges?.begin(answer);
      let since = performance.now();
      for await (const whole of answer.body) {
        const waitedMs = performance.now() - since;
        let chunk = skip > 0 ? whole.subarray(Math.min(skip, whole.length)) : whole;
        skip -= Math.min(skip, whole.length);
        if (chunk.length > 0) {
          if (received + chunk.length > size)
            throw protocol(blob, `sent more than ${size} bytes, the size of the blob`, answer);
          const cut = ranges?.passed(received + chunk.length, waitedMs) ?? null;
          if (cut !== null) chunk = chunk.subarray(0, cut - received);
          received += chunk.length;
          if (chunk.length > 0) {
            take(chunk, received);
            yield chunk;
          }
          if (cut !== null) return;
        }
        since = performance.now();
      }
      if (received < size) throw new Fault("ECONNRESET", `only ${received} of ${size} bytes were received`);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!retries.isAllowed(error, received > startedAt)) throw blob.unreachable(error);
      await blob.pause(retries.stalls, signal);
    }
  }
}

/** The content is not what was asked for. */
export function wrongDigest(name: string, sender: string, expected: string, actual: string): BuildError {
  return new BuildError(
    "DIGEST_MISMATCH",
    `${name}: expected ${expected}, but the content is ${printable(actual, 80)}`,
    { hint: `${sender}, or a proxy in between, sent wrong content; it was discarded` },
  );
}
