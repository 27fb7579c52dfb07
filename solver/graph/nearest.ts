// "Did you mean": the known word that is nearest to a mistyped one. Dockerfiles use BuildKit's rule instead (frontend/suggest.ts), so that the
// errors are the same.

/** The candidate that `word` was probably meant to be: fewest edits, at most a third of its length. null: none is near. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let bestEdits = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = editDistance(word, candidate);
    if (edits < bestEdits) {
      best = candidate;
      bestEdits = edits;
    }
  }
  return best;
}

/** The same for names of images: what two of them share up to a "/" (registry, namespace) does not make them near, the rest has to be. */
export function nearestImage(name: string, candidates: readonly string[]): string | null {
  const near = candidates.filter((candidate) => {
    let shared = 0;
    for (let at = 0; at < name.length && name[at] === candidate[at]; at++)
      if (name[at] === "/") shared = at + 1;
    return nearest(name.slice(shared), [candidate.slice(shared)]) !== null;
  });
  return nearest(name, near);
}

/** Levenshtein distance with transpositions counted as one edit (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (above[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      let least = Math.min((above[column] as number) + 1, (current[column - 1] as number) + 1, substitution);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        least = Math.min(least, (before[column - 2] as number) + 1);
      }
      current.push(least);
    }
    before = above;
    above = current;
  }
  return above[b.length] as number;
}
