// A minimum speed: a peer that sends or accepts a byte now and then never times out and never finishes (threat model C6).

import { Fault } from "./exchange.ts";

/** Fewer than `minBytes` in `windowMs` of waiting for the other side are too few. Our own slowness does not count. */
export interface Pace {
  readonly windowMs: number;
  readonly minBytes: number;
}

/** 1 KiB a second, over half a minute: a tenth of what a mobile network gives where it hardly works. */
export const SLOWEST: Pace = { windowMs: 30_000, minBytes: 30 << 10 };

/** A registry may be busy with its own storage before it takes more. */
export const SLOWEST_UPLOAD: Pace = { windowMs: 120_000, minBytes: 120 << 10 };
/** What goes out is counted in such pieces: larger ones would take a slow line longer than a window. */
const SLICE_BYTES = 64 << 10;

/** Code of the fault. */
export const TOO_SLOW = "ETOOSLOW";

/** Adds up waiting and bytes; throws a Fault when a window was too slow. */
function meter({ windowMs, minBytes }: Pace): (waitedMs: number, bytes: number) => void {
  let waited = 0;
  let moved = 0;
  return (waitedMs, bytes) => {
    waited += waitedMs;
    moved += bytes;
    if (waited < windowMs) return;
    if (moved < minBytes) throw tooSlow(moved, waited);
    waited = 0;
    moved = 0;
  };
}

/** Bytes from the other side. */
export async function* pacedIn(
  data: AsyncIterable<Uint8Array>,
  pace: Pace,
): AsyncGenerator<Uint8Array, void, undefined> {
  const count = meter(pace);
  let since = performance.now();
  for await (const chunk of data) {
    count(performance.now() - since, chunk.length);
    yield chunk;
    since = performance.now();
  }
}

/** Bytes to the other side, which takes the next when it has room. One that takes nothing would never let this generator go on, so
 *  the fault goes to `onSlow`, which ends the exchange. */
export async function* pacedOut(
  data: AsyncIterable<Uint8Array>,
  { windowMs, minBytes }: Pace,
  onSlow: (fault: Fault) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = windowMs; // of the window
  let moved = 0;
  let since = 0;
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    since = performance.now();
    timer = setTimeout(() => {
      if (moved < minBytes) return onSlow(tooSlow(moved, windowMs));
      moved = 0;
      left = windowMs;
      wait();
      return undefined;
    }, left);
  };
  for await (const chunk of data) {
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const slice = chunk.subarray(at, at + SLICE_BYTES);
      wait();
      try {
        yield slice;
      } finally {
        clearTimeout(timer);
      }
      left = Math.max(0, left - (performance.now() - since));
      moved += slice.length;
    }
  }
}

function tooSlow(bytes: number, waitedMs: number): Fault {
  return new Fault(TOO_SLOW, `too slow: ${bytes} bytes in ${Math.round(waitedMs / 1000)} s`);
}
