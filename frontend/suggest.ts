// "did you mean": the nearest of the valid words.

const MAX_DISTANCE = 2;
const MAX_WORD = 64; // longer words are not misspelt names; keeps the table small on hostile input

/** Options looked at: a Dockerfile may set any number of variables and misspell any number. */
const MAX_OPTIONS = 500;

/** The option at edit distance 1 or 2 from `word`, the first of the nearest; null when there is none or `word` is one. */
export function suggest(word: string, options: Iterable<string>, caseSensitive: boolean): string | null {
  const wanted = caseSensitive ? word : word.toLowerCase();
  if (wanted.length === 0 || wanted.length > MAX_WORD) return null;
  let best: string | null = null;
  let bestDistance = MAX_DISTANCE + 1;
  let count = 0;
  for (const option of options) {
    if (++count > MAX_OPTIONS) break;
    const candidate = caseSensitive ? option : option.toLowerCase();
    if (candidate === wanted) return null;
    if (Math.abs(candidate.length - wanted.length) >= bestDistance) continue;
    const distance = editDistance(wanted, candidate, bestDistance);
    if (distance < bestDistance) {
      bestDistance = distance;
      best = caseSensitive ? option : matchCase(candidate, word);
    }
  }
  return best;
}

function matchCase(candidate: string, word: string): string {
  return word === word.toUpperCase() && word !== word.toLowerCase() ? candidate.toUpperCase() : candidate;
}

/** Levenshtein distance, one row at a time; `limit` when it is that much or more. */
function editDistance(a: string, b: string, limit: number): number {
  const row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    let diagonal = i - 1; // of the row before
    let left = i;
    let least = i;
    row[0] = i;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j] ?? 0;
      const replace = diagonal + (a.charCodeAt(i - 1) === b.charCodeAt(j - 1) ? 0 : 1);
      left = Math.min(replace, above + 1, left + 1);
      row[j] = left;
      diagonal = above;
      if (left < least) least = left;
    }
    if (least >= limit) return limit; // rows never get better
  }
  return Math.min(row[b.length] ?? 0, limit);
}
