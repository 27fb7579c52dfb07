// Which layer of one image is which of the other.

/** Longer lists are paired by place: the table has their product of cells. */
const ALIGNED_MAX = 600;

/** What a layer is paired by. */
export interface LayerKey {
  readonly diffId: string;
  readonly command: string;
}

export interface Pairing {
  readonly a: number | null;
  readonly b: number | null;
}

/** Pairs layers that are equal, or made by the same command; in order. Lists of one length without such pairs are paired by place. */
export function alignLayers(a: readonly LayerKey[], b: readonly LayerKey[]): readonly Pairing[] {
  const byPlace = a.length === b.length && a.every((key, at) => fits(key, b[at] as LayerKey));
  if (byPlace || a.length > ALIGNED_MAX || b.length > ALIGNED_MAX) return placed(a.length, b.length);
  // Longest common subsequence, from the end.
  const width = b.length + 1;
  const best = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i * width + j] = fits(a[i] as LayerKey, b[j] as LayerKey)
        ? (best[(i + 1) * width + j + 1] as number) + 1
        : Math.max(best[(i + 1) * width + j] as number, best[i * width + j + 1] as number);
  if (best[0] === 0 && a.length === b.length) return placed(a.length, b.length);
  const pairs: Pairing[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && fits(a[i] as LayerKey, b[j] as LayerKey))
      pairs.push({ a: i++, b: j++ });
    else if (
      j >= b.length ||
      (i < a.length && (best[(i + 1) * width + j] as number) >= (best[i * width + j + 1] as number))
    )
      pairs.push({ a: i++, b: null });
    else pairs.push({ a: null, b: j++ });
  }
  return pairs;
}

function fits(a: LayerKey, b: LayerKey): boolean {
  return a.diffId === b.diffId || (a.command !== "" && a.command === b.command);
}

function placed(a: number, b: number): readonly Pairing[] {
  return Array.from({ length: Math.max(a, b) }, (_, at) => ({
    a: at < a ? at : null,
    b: at < b ? at : null,
  }));
}
