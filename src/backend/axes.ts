/** A run of neighbouring axes that are all reduced or all kept, as one axis of n. */
export interface Run {
  n: number;
  readonly reduced: boolean;
}

/** The axes of a shape as runs, outermost first; axes of 1 are left out. At least one run is reduced, if only over one element. */
export function reducedRuns(shape: readonly number[], axes: readonly number[]): Run[] {
  const list: Run[] = [];
  for (const [i, n] of shape.entries()) {
    if (n === 1) continue;
    const reduced = axes.includes(i);
    const before = list.at(-1);
    if (before?.reduced === reduced) before.n *= n;
    else list.push({ n, reduced });
  }
  return list.some(({ reduced }) => reduced) ? list : [...list, { n: 1, reduced: true }];
}
