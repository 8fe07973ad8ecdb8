// "Did you mean": the names nearest to what was typed.

/** Edits (insert, delete, replace, swap of neighbours) between two words. Damerau 1964, the restricted form. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above[b.length];
}

/** At most three of `names`, nearest first: a few edits away, or longer names that begin with what was typed. */
export function nearest(typed: string, names: readonly string[]): string[] {
  const word = typed.toLowerCase();
  const distance = (name: string) => {
    const edits = editDistance(word, name.toLowerCase());
    if (edits <= Math.max(1, Math.floor(Math.max(word.length, name.length) / 3))) return edits;
    return word.length > 1 && name.toLowerCase().startsWith(word) ? name.length : Number.POSITIVE_INFINITY;
  };
  return names
    .map((name) => ({ name, distance: distance(name) }))
    .filter((row) => row.distance < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map((row) => row.name);
}

/** `did you mean "simclr" or "simsiam"?`, or nothing when no name is near. */
export function didYouMean(typed: string, names: readonly string[], show = (name: string) => `"${name}"`): string {
  const near = nearest(typed, names).map(show);
  return near.length ? `did you mean ${near.join(" or ")}?` : "";
}
