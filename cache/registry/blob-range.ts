// Requests for a blob or a part of it, and their answers: what resumed.ts and ranged.ts share.

import { BuildError, printable, redactUrl } from "../../solver/graph/error.ts";
import type { Descriptor } from "../../solver/graph/request.ts";
import type { Answer, Fault } from "./exchange.ts";
import { TOO_SLOW } from "./pace.ts";

/** When parts of a blob are fetched by connections of their own: see ranged.ts. */
export interface RangeLimits {
  /** Smaller blobs come by one connection. */
  readonly blobMinBytes: number;
  readonly partBytes: number;
  /** So far ahead of what has been handed over parts are asked for, and kept in memory. */
  readonly windowBytes: number;
  /** Most connections of a blob. */
  readonly blobConnections: number;
  /** Of all transfers from a host; one that has to begin is never held up by it. */
  readonly hostConnections: number;
  /** The beginning of a stream says little of its rate: so long it is not measured, and then so long it is; in milliseconds of waiting. */
  readonly settleMs: number;
  readonly watchMs: number;
  /** What will be over in that time is not worth a second connection. */
  readonly restMinMs: number;
  /** The first part begins so far ahead that the first stream does not reach it before its bytes come. */
  readonly leadMs: number;
  /** Two connections are worth it when they bring that many times what one did. */
  readonly gainMin: number;
  /** A part that has been under way for so long is not waited for when one stream would have all of it sooner. */
  readonly lateMs: number;
}

/** Connections of transfers to one host. */
export interface Connections {
  readonly limits: RangeLimits;
  /** One that is needed. */
  begin(): Disposable;
  /** One more; null: there are enough. */
  more(): Disposable | null;
}

/** Which bytes are asked for. */
export interface ByteRange {
  readonly start: number;
  /** One after the last; null: to the end of the blob. */
  readonly end: number | null;
  readonly signal: AbortSignal;
}

export type BlobAnswer = Pick<Answer, "status" | "headers" | "body" | "discard"> & {
  /** Who has answered, after redirects. */
  readonly url?: URL;
};

export interface ResumedBlob {
  readonly descriptor: Pick<Descriptor, "digest" | "size">;
  /** For messages. */
  readonly name: string;
  /** Who sends: "the registry". */
  readonly sender: string;
  /** An answer with status 200 (from the first byte on), 206, or 416. May throw a Fault. */
  readonly ask: (range: ByteRange) => Promise<BlobAnswer>;
  /** What to throw when it does not come, after bounded attempts. */
  readonly unreachable: (fault: Fault) => BuildError;
  /** Waits before attempt n+1 (n from 0). */
  readonly pause: (attempt: number, signal: AbortSignal) => Promise<void>;
  /** Longest time for all of it, in all attempts. */
  readonly totalMs: number;
  /** Bytes so far. */
  readonly onBytes: ((current: number, total: number) => void) | undefined;
  /** What it shares with other transfers from the same host. */
  readonly connections: Connections;
  readonly signal: AbortSignal;
}

// A transfer that makes progress, and not by drops, may be resumed more often than one that does not.
const RESUMES_MAX = 50;
const STALLS_MAX = 5;

/** The `range` header of a request; none for a whole blob. RFC 9110, 14.2. */
export function rangeHeader({ start, end }: ByteRange): Record<string, string> {
  return start === 0 && end === null ? {} : { range: `bytes=${start}-${end === null ? "" : end - 1}` };
}

/** Counts attempts, and those that brought nothing. */
export function openRetries({ totalMs }: Pick<ResumedBlob, "totalMs">): {
  /** May it be asked again after a fault? */
  isAllowed(fault: Fault, hasProgress: boolean): boolean;
  readonly stalls: number;
} {
  const until = performance.now() + totalMs;
  let attempts = 0;
  let stalls = 0;
  return {
    isAllowed(fault, hasProgress) {
      attempts++;
      stalls = hasProgress && fault.code !== TOO_SLOW ? 0 : stalls + 1;
      return stalls < STALLS_MAX && attempts <= RESUMES_MAX && performance.now() < until;
    },
    get stalls() {
      return stalls;
    },
  };
}

/** Is it an answer with what was asked for, or with the beginning of that? RFC 9110, 14.4 and 15.3.7. Throws REGISTRY_PROTOCOL. */
export async function checkPart(
  blob: Pick<ResumedBlob, "name" | "sender" | "descriptor">,
  answer: BlobAnswer,
  { start, end }: ByteRange,
): Promise<void> {
  const { size } = blob.descriptor;
  const stated = answer.headers["content-range"] ?? "";
  const [, first, last, total] = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(stated) ?? [];
  const isRight =
    answer.status === 206 &&
    Number(first) === start &&
    Number(last) >= start &&
    Number(last) < (end ?? size) &&
    (total === "*" || Number(total) === size);
  if (isRight) return;
  await answer.discard();
  const asked = `bytes ${start}-${(end ?? size) - 1}/${size}`;
  const got =
    answer.status === 206 ? printable(stated === "" ? "no range" : stated, 60) : `status ${answer.status}`;
  throw protocol(
    blob,
    `sent a different part of the blob than requested: ${got} instead of ${asked}`,
    answer,
  );
}

/** The other side did something it may not do. */
export function protocol(
  { name, sender }: Pick<ResumedBlob, "name" | "sender">,
  problem: string,
  { url }: Pick<BlobAnswer, "url">,
): BuildError {
  const from = url === undefined ? "" : ` (${printable(redactUrl(`${url.origin}${url.pathname}`), 200)})`;
  return new BuildError("REGISTRY_PROTOCOL", `${name}: ${sender} ${problem}${from}`);
}
