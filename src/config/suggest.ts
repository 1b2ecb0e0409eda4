/** "Did you mean …": the known word that is nearest to a wrong one. */

/** The candidate that differs by the fewest slips of the pen; undefined when none is near enough to be meant. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  // A third of the word may be wrong, but at least one letter and at most three: more is another word.
  let limit = Math.min(3, Math.max(1, Math.floor(word.length / 3)));
  let best: string | undefined;
  for (const candidate of candidates) {
    const slips = editDistance(word.toLowerCase().replaceAll('-', '_'), candidate.replaceAll('-', '_'));
    if (slips <= limit) {
      best = candidate;
      limit = slips - 1;
    }
  }
  return best;
}

/** Letters to add, drop, change or swap with their neighbour to make one word the other. Source: optimal string alignment. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, changed);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above[b.length];
}
