// Parts of a large blob by several connections, for where each connection is limited: a rate for each, or a window that is small for
// the distance.
//
// One connection asks for the whole blob. Only when it turns out to be slow is a part further on asked for by a second one, and only
// when both together are faster than one was, by more: a line that is full is left to its single connection. From where the parts
// begin the first connection is no longer needed and becomes one of those that fetch parts. What has come stays in memory until its
// turn, at most `windowBytes` ahead of what has been handed over.
//
// Whatever goes wrong with parts (no ranges, another ETag, a redirect that refuses, faults that do not pass) ends them, and one stream
// goes on from there. Only an answer that contradicts itself is an error.

import { BuildError } from "../../solver/graph/error.ts";
import {
  type BlobAnswer,
  checkPart,
  type Connections,
  openRetries,
  protocol,
  type RangeLimits,
  type ResumedBlob,
} from "./blob-range.ts";
import { Fault } from "./exchange.ts";

/** When parts are fetched, and of what size. */
export const RANGE_LIMITS: RangeLimits = {
  blobMinBytes: 32 << 20,
  // A request costs a round trip, or two with a redirect: 20 ms are a tenth of the time of a part at 40 MB/s. 4 MiB and 8 MiB differ
  // by 10 % there, and by 30 MB of memory.
  partBytes: 8 << 20,
  windowBytes: 32 << 20,
  blobConnections: 4,
  hostConnections: 8,
  settleMs: 100,
  watchMs: 250,
  restMinMs: 1_000,
  leadMs: 300,
  gainMin: 1.3,
  lateMs: 5_000,
};
const SLICE_BYTES = 1 << 20;

/** Counts connections for each host. */
export function openConnections(limits: RangeLimits = RANGE_LIMITS): (host: string) => Connections {
  const counts = new Map<string, number>();
  return (host) => {
    const add = (count: number): void => {
      counts.set(host, (counts.get(host) ?? 0) + count);
    };
    const begin = (): Disposable => {
      add(1);
      let isOver = false;
      return {
        [Symbol.dispose]() {
          if (!isOver) add(-1);
          isOver = true;
        },
      };
    };
    return {
      limits,
      begin,
      more: () => ((counts.get(host) ?? 0) < limits.hostConnections ? begin() : null),
    };
  };
}

/** The parts of one blob. */
export interface Ranges {
  /** The answer that the first stream comes with. */
  begin(answer: BlobAnswer): void;
  /** The first stream has come to `reached`, after waiting for its last bytes. Returns where it is to end, because parts go on from
   *  there; null: it goes on. Throws REGISTRY_PROTOCOL. */
  passed(reached: number, waitedMs: number): number | null;
  /** So far the bytes have been handed over, by the first stream or by `take`. */
  readonly at: number;
  /** The bytes from where the first stream ended, maybe not to the end. Throws REGISTRY_PROTOCOL, `signal.reason`. */
  take(): AsyncGenerator<Uint8Array, void, undefined>;
  /** Ends all connections. */
  close(): Promise<void>;
}

interface Part {
  readonly start: number;
  readonly end: number;
  readonly bytes: Buffer;
  readonly askedAtMs: number;
  filled: number;
  /** No more bytes will come of it. */
  ended: boolean;
}

/** What does not come by parts may still come by one stream. */
class NoParts extends Error {}

/** null: the blob is too small for it. */
export function openRanges(blob: ResumedBlob): Ranges | null {
  const { size } = blob.descriptor;
  const { limits } = blob.connections;
  if (size < limits.blobMinBytes) return null;
  const stop = new AbortController();
  const signal = AbortSignal.any([blob.signal, stop.signal]);
  const bell = openBell();
  const watch = openWatch(limits);
  const parts: Part[] = []; // in order; the first is the next to be handed over
  const work: Promise<void>[] = [];
  /** off: there are no ranges; trying: a second connection shows what it brings; over: no more parts are asked for. */
  let state: "off" | "waiting" | "trying" | "on" | "over" = "off";
  let etag: string | null = null;
  let at = 0; // handed over
  let next = 0; // where the next part begins
  let triedAtMs = 0;
  let workers = 0;
  let failed: { readonly error: unknown } | null = null;

  /** Fetches parts, one after the other, for as long as they are wanted. */
  async function fetchParts(connection: Disposable | null): Promise<void> {
    workers++;
    try {
      for (;;) {
        while (state === "on" && next < size && next >= at + limits.windowBytes) await bell.heard();
        const isWanted = state === "on" || (state === "trying" && parts.length === 0);
        if (!isWanted || next >= size) return;
        const end = Math.min(next + limits.partBytes, size);
        const bytes = Buffer.allocUnsafeSlow(end - next);
        const part: Part = {
          ...{ start: next, end, bytes, askedAtMs: performance.now() },
          ...{ filled: 0, ended: false },
        };
        next = end;
        parts.push(part);
        await fill(part).finally(() => {
          part.ended = true;
        });
        if (state === "trying") decide();
      }
    } catch (error) {
      if (!(error instanceof NoParts) && !stop.signal.aborted) failed ??= { error };
      state = "over";
    } finally {
      workers--;
      connection?.[Symbol.dispose]();
      bell.ring();
    }
  }

  async function fill(part: Part): Promise<void> {
    const retries = openRetries(blob);
    while (part.start + part.filled < part.end) {
      const filledBefore = part.filled;
      try {
        await fillOnce(part);
      } catch (fault) {
        if (!(fault instanceof Fault)) throw fault;
        if (state !== "on" || !retries.isAllowed(fault, part.filled > filledBefore)) throw new NoParts();
        await blob.pause(retries.stalls, signal);
      }
    }
  }

  async function fillOnce(part: Part): Promise<void> {
    const range = { start: part.start + part.filled, end: part.end, signal };
    const answer = await blob.ask(range).catch((error: unknown) => {
      throw error instanceof BuildError ? new NoParts() : error;
    });
    const other = etagOf(answer);
    if (answer.status !== 206 || (etag !== null && other !== null && etag !== other)) {
      await answer.discard();
      throw new NoParts();
    }
    await checkPart(blob, answer, range);
    for await (const chunk of answer.body) {
      if (part.filled + chunk.length > part.bytes.length)
        throw protocol(blob, `sent more than bytes ${range.start}-${range.end - 1} of the blob`, answer);
      part.bytes.set(chunk, part.filled);
      part.filled += chunk.length;
      if (state === "trying" && triedAtMs === 0) {
        triedAtMs = performance.now();
        watch.restart();
      }
      bell.ring();
    }
    if (part.start + part.filled < part.end)
      throw new Fault("ECONNRESET", "the connection was closed before the response was complete");
  }

  /** The first stream is slow, and the rest long: a second connection may be worth it. */
  function consider(): void {
    const rate = watch.settled();
    if (rate === null || size - at < limits.restMinMs * rate) return;
    const start = at + Math.ceil(Math.max(limits.partBytes, limits.leadMs * rate));
    if (start + limits.partBytes > size) return;
    const connection = blob.connections.more();
    if (connection === null) return;
    state = "trying";
    next = start;
    work.push(fetchParts(connection));
  }

  /** Are two faster than one? */
  function decide(): void {
    const [first] = parts;
    if (first === undefined || triedAtMs === 0) return;
    const rate = first.filled / Math.max(performance.now() - triedAtMs, 1) + watch.rate();
    state = rate >= limits.gainMin * watch.before ? "on" : "over";
    grow();
  }

  function grow(): void {
    while (state === "on" && workers < limits.blobConnections - 1 && next < size) {
      const connection = blob.connections.more();
      if (connection === null) return;
      work.push(fetchParts(connection));
    }
  }

  /** Has its connection the rest only when the first stream would have had all of it `times` over? */
  function isLate({ bytes, filled, askedAtMs }: Part, times: number): boolean {
    const restMs = ((bytes.length - filled) * (performance.now() - askedAtMs)) / filled; // filled 0: Infinity
    return filled < bytes.length && restMs > (times * bytes.length) / watch.before;
  }

  return {
    begin(answer) {
      if (state !== "off" && state !== "waiting") return;
      etag = etagOf(answer);
      const hasRanges = answer.status === 206 || /\bbytes\b/.test(answer.headers["accept-ranges"] ?? "");
      state = hasRanges ? "waiting" : "off";
    },
    passed(reached, waitedMs) {
      if (failed !== null) throw failed.error;
      watch.add(reached - at, waitedMs);
      const [first] = parts;
      at = Math.min(reached, first?.start ?? reached);
      if (state === "waiting") consider();
      if (first === undefined) return null;
      bell.ring();
      if (reached < first.start) return null;
      if (state === "trying") decide();
      if (!isLate(first, 1)) return first.start;
      // Nothing or little has come of it, and the first stream is there already: the rest is left to that.
      state = "over";
      parts.length = 0;
      at = reached;
      stop.abort();
      return null;
    },
    get at() {
      return at;
    },
    async *take() {
      if (state === "on") work.push(fetchParts(null)); // in place of the first stream
      for (;;) {
        signal.throwIfAborted();
        if (failed !== null) throw failed.error;
        const [part] = parts;
        if (part !== undefined && at < part.start + part.filled) {
          const done = at - part.start;
          const chunk = part.bytes.subarray(done, Math.min(part.filled, done + SLICE_BYTES));
          at += chunk.length;
          if (at === part.end) parts.shift();
          grow();
          bell.ring();
          yield chunk;
        } else if (part === undefined) {
          if (at >= size || state !== "on") return;
          await bell.heard();
        } else {
          // Where all share a line each has but a share of the first one's rate.
          const isOld = performance.now() - part.askedAtMs > limits.lateMs;
          const isHopeless = isOld && isLate(part, 2 * limits.blobConnections);
          if (part.ended || isHopeless) return;
          await bell.heard();
        }
      }
    },
    async close() {
      state = "over";
      stop.abort();
      bell.ring();
      await Promise.allSettled(work);
    },
  };
}

/** The rate of the first stream, in bytes per millisecond. */
interface Watch {
  add(bytes: number, waitedMs: number): void;
  /** In a time that is just over, in which it was waited for, after it has begun; null: there was none since the last call. */
  settled(): number | null;
  /** What `settled` gave last. */
  readonly before: number;
  /** Since `restart`, whoever was slow. */
  rate(): number;
  restart(): void;
}

function openWatch({ settleMs, watchMs }: RangeLimits): Watch {
  let waited = -settleMs;
  let bytes = 0;
  let before = 0;
  let sinceMs = 0;
  return {
    add(count, waitedMs) {
      waited += waitedMs;
      // What came together with the end of a long wait was sent in that.
      bytes = waited <= 0 ? 0 : bytes + count;
    },
    settled() {
      if (waited < watchMs) return null;
      before = bytes / waited;
      waited = 0;
      bytes = 0;
      return before;
    },
    get before() {
      return before;
    },
    rate: () => bytes / Math.max(performance.now() - sinceMs, 1),
    restart() {
      sinceMs = performance.now();
      bytes = 0;
    },
  };
}

/** Wakes all who wait. */
function openBell(): { ring(): void; heard(): Promise<void> } {
  let waiting: (() => void)[] = [];
  return {
    ring() {
      const woken = waiting;
      waiting = [];
      for (const wake of woken) wake();
    },
    heard: () => new Promise((resolve) => waiting.push(resolve)),
  };
}

/** Tags that name bytes; weak ones do not (RFC 9110, 8.8.3). */
function etagOf({ headers }: BlobAnswer): string | null {
  const { etag } = headers;
  return etag === undefined || etag.startsWith("W/") ? null : etag;
}
