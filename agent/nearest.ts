/** "Did you mean": the known word closest to one that a person typed. */

/** Beyond this many edits a suggestion is a guess that misleads; short words get fewer. */
const MOST_EDITS = 3;

/** The candidate within a few edits of `word` (the closest, the first of equals), or undefined. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const limit = Math.min(MOST_EDITS, Math.max(1, Math.floor(word.length / 3)));
  let best: { readonly candidate: string; readonly edits: number } | undefined;
  for (const candidate of candidates) {
    const edits = distance(word.toLowerCase(), candidate.toLowerCase());
    if (edits <= limit && (best === undefined || edits < best.edits)) best = { candidate, edits };
  }
  return best?.candidate;
}

/** At most so many that somebody may have meant: the closest first, then those that hold the word or are held by it. */
export function nearestFew(word: string, candidates: readonly string[], most: number): readonly string[] {
  const close = nearest(word, candidates);
  const alike = candidates.filter((each) => each !== close && (each.includes(word) || word.includes(each)));
  return [...(close === undefined ? [] : [close]), ...alike].slice(0, most);
}

/** `; did you mean "grace"?` or nothing: to be appended to a sentence. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const candidate = nearest(word, candidates);
  return candidate === undefined ? '' : `; did you mean "${candidate}"?`;
}

/** Edits (insert, delete, replace, swap of neighbours) between two words. */
function distance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let edits = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + (same ? 0 : 1));
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) edits = Math.min(edits, (beforePrevious[j - 2] ?? 0) + 1);
      row.push(edits);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
}
