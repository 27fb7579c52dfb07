// "did you mean": the nearest of the words that would have been right.
const MAX_DISTANCE = 2;
const MAX_WORD = 64; // longer words are not misspelt names; keeps the table small on hostile input
/** Options looked at: a Dockerfile may set any number of variables and misspell any number. */
const MAX_OPTIONS = 500;
/** The option at edit distance 1 or 2 from `word`, the first of the nearest; null when there is none or `word` is one. */
export function suggest(word, options, caseSensitive) {
    const wanted = caseSensitive ? word : word.toLowerCase();
    if (wanted.length === 0 || wanted.length > MAX_WORD)
        return null;
    let best = null;
    let bestDistance = MAX_DISTANCE + 1;
    let count = 0;
    for (const option of options) {
        if (++count > MAX_OPTIONS)
            break;
        const candidate = caseSensitive ? option : option.toLowerCase();
        if (candidate === wanted)
            return null;
        if (Math.abs(candidate.length - wanted.length) >= bestDistance)
            continue;
        const distance = editDistance(wanted, candidate);
        if (distance < bestDistance) {
            bestDistance = distance;
            best = caseSensitive ? option : matchCase(candidate, word);
        }
    }
    return best;
}
function matchCase(candidate, word) {
    return word === word.toUpperCase() && word !== word.toLowerCase() ? candidate.toUpperCase() : candidate;
}
/** Levenshtein distance, one row at a time. */
function editDistance(a, b) {
    let row = Array.from({ length: b.length + 1 }, (_, index) => index);
    for (let i = 1; i <= a.length; i++) {
        const next = [i];
        for (let j = 1; j <= b.length; j++) {
            const replace = (row[j - 1] ?? 0) + (a.charCodeAt(i - 1) === b.charCodeAt(j - 1) ? 0 : 1);
            next.push(Math.min(replace, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
        }
        row = next;
    }
    return row[b.length] ?? 0;
}
//# sourceMappingURL=suggest.js.map