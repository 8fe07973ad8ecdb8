// Measuring contenders against each other: in turn, in short stretches, so that what else the machine does hits all alike.
import { setTimeout } from "node:timers/promises";

/** Somebody who has a job ready to run. */
export interface Contender {
  readonly name: string;
  /** The result of a run, in our order of axes. */
  result(): Promise<Float32Array>;
  /** Runs the job over and over for at least this long and gives the milliseconds of each run. */
  measure(stretchMs: number): Promise<number[]>;
  close(): Promise<void>;
}

/** The times of single runs of `run`, one after the other, for at least `stretchMs`. */
export async function timesOf(run: () => Promise<unknown>, stretchMs: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + stretchMs;
  for (let begin = performance.now(); begin < end; ) {
    await run();
    const now = performance.now();
    times.push(now - begin);
    begin = now;
  }
  return times;
}

export interface Rounds {
  rounds: number;
  stretchMs: number;
}

/** Before each stretch: threads of the contender before go on spinning for a while, and would take the next one's cores. */
const REST_MS = 50;
/** The stretch that warms up is so many times as long: engines compile in the background. */
const WARM = 3;

/** Measures all contenders in turn, `rounds` stretches each, after one that warms up. Milliseconds of single runs. */
export async function inTurn(contenders: readonly Pick<Contender, "measure">[], { rounds, stretchMs }: Rounds): Promise<number[][]> {
  const times = contenders.map((): number[] => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      await setTimeout(REST_MS);
      if (round < 0) await contender.measure(WARM * stretchMs);
      else times[i].push(...(await contender.measure(stretchMs)));
    }
  }
  return times;
}

/** Median and the quartiles around it. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly runs: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.round(part * (sorted.length - 1))];
  return { median: at(0.5), low: at(0.25), high: at(0.75), runs: sorted.length };
}

/** Largest difference of two results over the largest entry: whoever is fast must also be right. */
export function disagreement(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let [gap, largest] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    if (Number.isNaN(difference)) return Number.POSITIVE_INFINITY;
    gap = Math.max(gap, difference);
    largest = Math.max(largest, Math.abs(b[i]));
  }
  return gap / largest;
}
