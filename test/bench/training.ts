// Whole training steps on made-up images, each in a process of its own: time, images a second, and memory beside the plan.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RunRequest } from "../../src/train/options.ts";
import type { Spread } from "./measure.ts";

export interface TrainingJob {
  readonly name: string;
  readonly request: Omit<RunRequest, "images">;
}

const row = (method: string, backbone: string, size: number, batch: number): TrainingJob => ({
  name: `${method}, ${backbone}, ${size} pixels, batch ${batch}`,
  request: { method, backbone, size, batch, steps: 1 },
});

export const trainingJobs: readonly TrainingJob[] = [
  row("simclr", "resnet18-cifar-w0.25", 32, 128),
  row("simclr", "resnet18-cifar", 32, 128),
  row("moco", "resnet18-w0.5", 96, 64),
  row("mae", "vit-tiny-16", 224, 16),
];

/** What `training-step.ts` prints. */
export interface StepResult {
  readonly stepMs: Spread;
  /** Planned peak of intermediate values. */
  readonly plannedBytes: number;
  /** The process's largest resident memory over what it had before the backend was opened: weights and views are in it. */
  readonly residentBytes: number;
}

export interface TrainingResult extends StepResult {
  readonly name: string;
  readonly threads: number;
  readonly imagesPerSecond: number;
}

/** Runs a step over and over for about `seconds`. */
export function measureTraining({ name, request }: TrainingJob, threads: number, seconds: number): TrainingResult {
  const script = fileURLToPath(new URL("training-step.ts", import.meta.url));
  const args = [...process.execArgv, script, JSON.stringify({ request, threads, seconds })];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`Cannot measure ${name}: ${stderr.trim().split("\n").at(-1)}`);
  const result = JSON.parse(stdout) as StepResult;
  return { name, threads, imagesPerSecond: (1000 * (request.batch as number)) / result.stepMs.median, ...result };
}
