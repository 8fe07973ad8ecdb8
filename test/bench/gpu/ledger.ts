// What a training step computes and moves, counted from its program, and the least time that this takes a card: the paper roofline.
import type { Backend, Executable } from "../../../src/backend/backend.ts";
import { cost } from "../../../src/tape/cost.ts";
import { lower } from "../../../src/tape/lower.ts";
import type { Program } from "../../../src/tape/program.ts";
import type { Precision } from "../../../src/tape/trace.ts";
import type { RunRequest } from "../../../src/train/options.ts";
import { planStep } from "./step.ts";

/** Largest rates of a card, by its maker's data sheet. */
export interface Card {
  /** Of float32 without tensor cores, and of float16 summed in float32 by dense tensor cores. */
  readonly teraflops: Readonly<Record<Precision, number>>;
  readonly gigabytesPerSecond: number;
}

export const cards: Readonly<Record<string, Card>> = {
  "RTX 3060": { teraflops: { f32: 12.7, f16: 25.5 }, gigabytesPerSecond: 360 },
  "RTX 4090": { teraflops: { f32: 82.6, f16: 165.2 }, gigabytesPerSecond: 1008 },
  "A100 80GB SXM": { teraflops: { f32: 19.5, f16: 312 }, gigabytesPerSecond: 2039 },
  "H200 SXM": { teraflops: { f32: 67, f16: 989.5 }, gigabytesPerSecond: 4800 },
};

/** A line of the ledger: all steps of one op. */
export interface Line {
  readonly op: string;
  readonly count: number;
  readonly flops: number;
  readonly bytes: number;
  /** Each step as long as the slower of computing and moving. */
  readonly boundMs: number;
}

/** Takes programs and runs none. */
class Planner implements Backend {
  readonly name = "plan";
  readonly halves = true;
  readonly programs: Program[] = [];

  load(trace: Parameters<Backend["load"]>[0]): Executable {
    const program = lower(trace);
    this.programs.push(program);
    const run = () => Promise.reject(new TypeError("Cannot run a program that was only planned"));
    return { arenaBytes: 4 * program.arena, onDevice: true, steps: program.steps.length, run, dispose() {} };
  }
  read = () => Promise.reject(new TypeError("Cannot read from a backend that only plans"));
  write = () => Promise.reject(new TypeError("Cannot write to a backend that only plans"));
  close = async () => {};
}

/** The program of a training step, without a backend that could run it. */
export async function programOf(request: Omit<RunRequest, "images">): Promise<Program> {
  const planner = new Planner();
  await planStep(request, planner);
  return planner.programs[0];
}

/** Sums by op, the longest first. What a step may not round is computed in float32. */
export function ledger({ steps }: Program, { teraflops, gigabytesPerSecond }: Card): Line[] {
  const lines = new Map<string, Line>();
  for (const step of steps) {
    const { flops, bytes } = cost(step);
    const boundMs = Math.max(flops / (1e9 * teraflops[step.precision ?? "f32"]), bytes / (1e6 * gigabytesPerSecond));
    const sum = lines.get(step.op) ?? { op: step.op, count: 0, flops: 0, bytes: 0, boundMs: 0 };
    lines.set(step.op, {
      op: step.op,
      count: sum.count + 1,
      flops: sum.flops + flops,
      bytes: sum.bytes + bytes,
      boundMs: sum.boundMs + boundMs,
    });
  }
  return [...lines.values()].sort((a, b) => b.boundMs - a.boundMs);
}

export const ledgerHead = "| op | steps | GFLOP | GB | flops a byte | least ms |\n|---|---|---|---|---|---|";

export const ledgerRow = ({ op, count, flops, bytes, boundMs }: Line): string =>
  `| ${op} | ${count} | ${(flops / 1e9).toFixed(1)} | ${(bytes / 1e9).toFixed(2)} | ${(flops / bytes).toFixed(1)} | ${boundMs.toFixed(2)} |`;

export function total(lines: readonly Line[]): Line {
  const sum = (of: (line: Line) => number) => lines.reduce((all, line) => all + of(line), 0);
  return {
    op: "all",
    count: sum(({ count }) => count),
    flops: sum(({ flops }) => flops),
    bytes: sum(({ bytes }) => bytes),
    boundMs: sum(({ boundMs }) => boundMs),
  };
}
