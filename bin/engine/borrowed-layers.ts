// Layers that come from somewhere only the running build can read: a layout or cache of its client, an object store with its credentials.

import { type Claims, sureForms } from "../../cache/claims.ts";
import type { Store } from "../../cache/contract.ts";
import type { BuiltImage, LayerId } from "../../solver/graph/request.ts";
import { Scope } from "../../solver/graph/scope.ts";

const FETCHES_AT_ONCE = 4;

export interface BorrowedParts {
  readonly store: Store;
  /** What the images in use say of their layers. */
  readonly claims: Pick<Claims, "of">;
  /** Is what `RemoteBlob.from` says a place that later commands cannot read? */
  readonly isBorrowed: (from: string) => boolean;
}

/** Fetches the layers of images that only this build can fetch, for an image that stays in the store. Other layers are fetched when needed. */
export async function fetchBorrowed(
  images: readonly BuiltImage[],
  { store, claims, isBorrowed }: BorrowedParts,
  fetch: (id: LayerId, signal: AbortSignal) => Promise<unknown>,
  parent: AbortSignal,
): Promise<void> {
  const waiting = [...new Set(images.flatMap(({ layers }) => layers))].filter((id) => {
    const record = store.layers.get(id);
    if (record === null || record.unpacked || store.layers.made(id) !== null) return false;
    const said = claims.of(id);
    const places = [...record.remotes.map(({ from }) => from), ...said.flatMap(({ from }) => from)];
    const blobs = [...[...record.remotes, ...said].map(({ descriptor }) => descriptor), ...sureForms(record)];
    return places.some(isBorrowed) && !blobs.some(({ digest }) => store.content.has(digest));
  });
  await using scope = new Scope(parent);
  await scope.all(
    Array.from({ length: Math.min(FETCHES_AT_ONCE, waiting.length) }, () => async (signal: AbortSignal) => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) await fetch(id, signal);
    }),
  );
}
