/** A number that changes over a run: step (counted from 0) -> value. */
export type Schedule = (step: number) => number;
