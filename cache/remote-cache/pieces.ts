// Splits a stream into parts that are sent in parallel, as services require for large objects.

import { Scope } from "../../solver/graph/scope.ts";

export interface Piece {
  readonly bytes: Uint8Array;
  /** From 0. */
  readonly index: number;
  /** Of its first byte. */
  readonly offset: number;
}

/**
 * Cuts `data` into pieces of `pieceBytes` (the last may be shorter) and gives them to `send`, at most `atOnce` at a time; so
 * atOnce + 1 pieces are in memory. Returns how many bytes there were. Throws what `data` or `send` throws, after all has ended.
 */
export async function sendPieces(
  data: AsyncIterable<Uint8Array>,
  pieceBytes: number,
  atOnce: number,
  options: { readonly signal: AbortSignal },
  send: (piece: Piece, signal: AbortSignal) => Promise<void>,
): Promise<number> {
  await using scope = new Scope(options.signal);
  const running = new Set<Promise<void>>();
  let failed: { readonly error: unknown } | null = null;
  let index = 0;
  let offset = 0;
  const start = async (bytes: Uint8Array): Promise<void> => {
    while (running.size >= atOnce) await Promise.race(running);
    if (failed !== null) throw failed.error;
    const piece: Piece = { bytes, index: index++, offset };
    offset += bytes.length;
    const task = scope
      .start((signal) => send(piece, signal))
      .catch((error: unknown) => {
        failed ??= { error };
      })
      .finally(() => running.delete(task));
    running.add(task);
  };

  let filling = Buffer.allocUnsafeSlow(pieceBytes);
  let filled = 0;
  for await (const chunk of data) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + pieceBytes - filled);
      filling.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < pieceBytes) continue;
      await start(filling);
      [filling, filled] = [Buffer.allocUnsafeSlow(pieceBytes), 0];
    }
  }
  if (filled > 0) await start(filling.subarray(0, filled));
  await Promise.all(running);
  const failure = failed as { readonly error: unknown } | null;
  if (failure !== null) throw failure.error;
  return offset;
}
