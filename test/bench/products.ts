// Products, convolutions and a transformer block: this project and its peers on the same job, in turn.
import { flops, type Job } from "./jobs.ts";
import { type Contender, disagreement, inTurn, type Rounds, type Spread, spreadOf } from "./measure.ts";
import { microKernel, peakFlops } from "./peak.ts";
import { fetchPeer, openPeer, ours, type Peer, peers } from "./peers/peer.ts";

/** How fast a contender did a job, or why it did not. */
export type Outcome = { readonly name: string; readonly native: boolean } & (
  | { readonly ms: Spread; readonly gigaflops: number; readonly disagreement?: number }
  | { readonly skipped: string }
);

export interface ProductResult {
  readonly name: string;
  readonly threads: number;
  /** Ours first. */
  readonly outcomes: readonly Outcome[];
  /** GFLOP/s of the micro-kernel on operands in L1, and our share of that. */
  readonly peak: number;
  readonly ofPeak: number;
  /** How many times as fast as the best peer in WebAssembly, and as onnxruntime-web alone. */
  readonly overBest?: number;
  readonly overOnnxruntime?: number;
}

export interface ProductOptions extends Rounds {
  readonly offline: boolean;
}

/** Results further apart than this are not of the same job. */
const TOLERANCE = 1e-4;

/** Measures a job. A peer that cannot do it is left out with its reason; one whose result differs is an error. */
export async function measureProduct(job: Job, threads: number, { offline, ...rounds }: ProductOptions): Promise<ProductResult> {
  const skipped = new Map<Peer, string>();
  const micro = await microKernel(threads);
  const opened: [Peer, Contender][] = [[ours, await openPeer(ours, job, threads, "")]];
  try {
    for (const peer of peers) {
      try {
        opened.push([peer, await openPeer(peer, job, threads, fetchPeer(peer, offline))]);
      } catch (error) {
        skipped.set(peer, (error as Error).message.split("\n")[0]);
      }
    }
    const contenders = opened.map(([, contender]) => contender);
    const [own, ...others] = await Promise.all(contenders.map((contender) => contender.result()));
    const gaps = others.map((result) => disagreement(result, own));
    for (const [i, gap] of gaps.entries()) {
      if (!(gap < TOLERANCE))
        throw new Error(`Cannot compare "${job.name}": ${contenders[i + 1].name}'s result differs by ${gap} of the largest entry`);
    }
    const [limit, ...times] = (await inTurn([micro, ...contenders], rounds)).map(spreadOf);
    const outcomes: Outcome[] = opened.map(([peer, { name }], i) => ({
      name,
      native: peer.native,
      ms: times[i],
      gigaflops: flops(job) / times[i].median / 1e6,
      ...(i > 0 && { disagreement: gaps[i - 1] }),
    }));
    for (const [{ name, native }, reason] of skipped) outcomes.push({ name, native, skipped: reason });
    const peak = peakFlops / limit.median / 1e6;
    return { name: job.name, threads, outcomes, peak, ...ratios(outcomes, peak) };
  } finally {
    await Promise.all([micro, ...opened.map(([, contender]) => contender)].map((contender) => contender.close()));
  }
}

/** GFLOP/s of a contender, if it did the job. */
const speedOf = (outcome: Outcome | undefined): number | undefined => (outcome && "ms" in outcome ? outcome.gigaflops : undefined);

function ratios([first, ...others]: readonly Outcome[], peak: number): Pick<ProductResult, "ofPeak" | "overBest" | "overOnnxruntime"> {
  const own = speedOf(first) as number;
  const speeds = others.filter(({ native }) => !native).flatMap((outcome) => speedOf(outcome) ?? []);
  const onnxruntime = speedOf(others.find(({ name }) => name === "onnxruntime-web"));
  return {
    ofPeak: own / peak,
    overBest: speeds.length ? own / Math.max(...speeds) : undefined,
    overOnnxruntime: onnxruntime && own / onnxruntime,
  };
}

const columns = [ours, ...peers].map(({ name }) => name);

/** Head of the table. */
export const productHead = (): string =>
  [
    `| GFLOP/s | threads | ${columns.join(" | ")} | micro-kernel | share of it | over the best in wasm | over onnxruntime-web |`,
    `|${"---|".repeat(columns.length + 6)}`,
  ].join("\n");

export function productRow({ name, threads, outcomes, peak, ofPeak, overBest, overOnnxruntime }: ProductResult): string {
  const cells = columns.map((column) => {
    const outcome = outcomes.find((one) => one.name === column);
    if (!outcome || !("ms" in outcome)) return "";
    const at = (ms: number) => ((outcome.gigaflops * outcome.ms.median) / ms).toFixed(0);
    return `${outcome.gigaflops.toFixed(1)} (${at(outcome.ms.high)} to ${at(outcome.ms.low)})`;
  });
  const ratio = (value: number | undefined) => value?.toFixed(2) ?? "";
  return `| ${name} | ${threads} | ${cells.join(" | ")} | ${peak.toFixed(1)} | ${ratio(ofPeak)} | ${ratio(overBest)} | ${ratio(overOnnxruntime)} |`;
}

/** Why cells are empty: one line for each reason. */
export function skippedLines(results: readonly ProductResult[]): string[] {
  const reasons = new Map<string, string[]>();
  for (const { name, outcomes } of results) {
    for (const outcome of outcomes) {
      if (!("skipped" in outcome)) continue;
      const reason = `${outcome.name}: ${outcome.skipped}`;
      reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
    }
  }
  return [...reasons].map(([reason, names]) => `- ${reason} (${[...new Set(names)].join("; ")})`);
}
