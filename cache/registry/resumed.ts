// Downloads a blob over unreliable connections: resumed where it broke off, and verified.

import { createHash } from "node:crypto";
import { hexOf } from "../../solver/graph/digest.ts";
import { BuildError, printable } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import { type Answer, Fault } from "./exchange.ts";
import { TOO_SLOW } from "./pace.ts";

export interface ResumedBlob {
  readonly descriptor: Pick<Descriptor, "digest" | "size">;
  /** For messages. */
  readonly name: string;
  /** Who sends: "the registry". */
  readonly sender: string;
  /** Asks for the bytes from `offset` on; an answer with status 200 (from the first byte again) or 206. May throw a Fault. */
  readonly ask: (offset: number) => Promise<Pick<Answer, "status" | "headers" | "body" | "discard">>;
  /** What to throw when it does not come, after bounded attempts. */
  readonly unreachable: (fault: Fault) => BuildError;
  /** Waits before attempt n+1 (n from 0). */
  readonly pause: (attempt: number) => Promise<void>;
  /** Longest time for all of it, in all attempts. */
  readonly totalMs: number;
  /** Bytes so far. */
  readonly onBytes: ((current: number, total: number) => void) | undefined;
}

// A transfer that makes progress, and not by drops, may be resumed more often than one that does not.
const RESUMES_MAX = 50;
const STALLS_MAX = 5;

/** Size and digest are verified before the last chunk is over. Throws REGISTRY_PROTOCOL, DIGEST_MISMATCH, and what `ask` and
 *  `unreachable` give. */
export async function* resumedBlob(blob: ResumedBlob): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor, name, sender, onBytes } = blob;
  const { digest, size } = descriptor;
  const protocol = (problem: string): BuildError =>
    new BuildError("REGISTRY_PROTOCOL", `${name}: ${sender} ${problem}`);
  const hash = createHash("sha256");
  let received = 0;
  let stalls = 0;
  const until = performance.now() + blob.totalMs;
  for (let attempt = 0; ; attempt++) {
    const startedAt = received;
    try {
      const answer = await blob.ask(received);
      // 200 to a range: the other side starts over, what we have is skipped.
      let skip = answer.status === 200 ? received : 0;
      if (answer.status === 206 && !rangeStartsAt(answer, received)) {
        await answer.discard();
        throw protocol("sent a different part of the blob than requested");
      }
      for await (const whole of answer.body) {
        const chunk = skip > 0 ? whole.subarray(Math.min(skip, whole.length)) : whole;
        skip -= Math.min(skip, whole.length);
        if (chunk.length === 0) continue;
        if (received + chunk.length > size)
          throw protocol(`sent more than ${size} bytes, the size of the blob`);
        received += chunk.length;
        hash.update(chunk);
        onBytes?.(received, size);
        yield chunk;
      }
      if (received < size) throw new Fault("ECONNRESET", `only ${received} of ${size} bytes were received`);
      break;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      stalls = received > startedAt && error.code !== TOO_SLOW ? 0 : stalls + 1;
      if (stalls >= STALLS_MAX || attempt >= RESUMES_MAX || performance.now() >= until)
        throw blob.unreachable(error);
      await blob.pause(stalls);
    }
  }
  const actual = hash.digest("hex");
  if (actual !== hexOf(digest)) throw wrongDigest(name, sender, digest, `sha256:${actual}`);
}

/** The content is not what was asked for. */
export function wrongDigest(name: string, sender: string, expected: string, actual: string): BuildError {
  return new BuildError(
    "DIGEST_MISMATCH",
    `${name}: expected ${expected}, but the content is ${printable(actual, 80)}`,
    { hint: `${sender}, or a proxy in between, sent wrong content; it was discarded` },
  );
}

function rangeStartsAt(answer: Pick<Answer, "headers">, offset: number): boolean {
  return new RegExp(`^bytes ${offset}-\\d+/`).test(answer.headers["content-range"] ?? "");
}
