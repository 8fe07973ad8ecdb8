// Whole training steps on made-up images, each in a process of its own: time, images a second and memory, beside PyTorch on the same cores.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { configure, type RunRequest } from "../../src/train/options.ts";
import { type Spread, spreadOf } from "./measure.ts";
import { python } from "./peers/peer.ts";

export interface TrainingJob {
  readonly name: string;
  readonly request: Omit<RunRequest, "images">;
  /** Has a counterpart in peers/torch_steps.py. */
  readonly torch?: true;
}

const row = (method: string, backbone: string, size: number, batch: number, more: Partial<TrainingJob["request"]> = {}): TrainingJob => ({
  name: `${method}, ${backbone}, ${size} pixels, batch ${batch}`,
  request: { method, backbone, size, batch, steps: 1, ...more },
});
const withTorch = (job: TrainingJob): TrainingJob => ({ ...job, torch: true });

/** Fewer views; prototypes that move from the first step on, as they do for all but the first of many epochs. */
const dinoSet = { locals: "4", localSize: "32", dropPath: "0", freezeLastLayer: "0" };

/** Those beside PyTorch have the published sizes of heads and decoders: recipes for laptops make them smaller. */
export const trainingJobs: readonly TrainingJob[] = [
  withTorch(row("simclr", "resnet18-cifar", 32, 128, { set: { layers: "3" } })),
  withTorch(row("dino", "vit-tiny-8", 64, 32, { recipe: "dino-vits16-100", set: dinoSet })),
  withTorch(row("mae", "vit-small-16", 224, 16, { recipe: "mae-vitb16-1600" })),
  row("simclr", "resnet18-cifar-w0.25", 32, 128),
  row("moco", "resnet18-w0.5", 96, 64),
  row("mae", "vit-tiny-16", 224, 16),
];

/** What `training-step.ts` prints. */
export interface StepResult {
  readonly stepMs: Spread;
  /** Share of a step's time that matrix products, convolutions and attention take, with what rides on them. */
  readonly productShare: number;
  /** Planned peak of intermediate values. */
  readonly plannedBytes: number;
  /** The process's largest resident memory over what it had before the backend was opened: weights and views are in it. */
  readonly residentBytes: number;
  /** The process's largest resident memory, with everything. */
  readonly peakBytes: number;
}

/** PyTorch's step and the largest resident memory of its process, or why there is none. */
export type TorchResult = { readonly stepMs: Spread; readonly peakBytes: number } | { readonly skipped: string };

export interface TrainingResult extends StepResult {
  readonly name: string;
  readonly threads: number;
  readonly imagesPerSecond: number;
  readonly torch?: TorchResult;
}

/** The last line that a program prints, as JSON. Throws with what it said on its last line of stderr if it fails. */
function answer(command: string, args: readonly string[]): unknown {
  const { stdout, stderr, status } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(stderr?.trim().split("\n").at(-1) ?? `${command} does not start`);
  return JSON.parse(stdout.trim().split("\n").at(-1) as string);
}

const beside = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** Runs a step over and over for about `seconds`, and PyTorch's after it. */
export function measureTraining(job: TrainingJob, threads: number, seconds: number): TrainingResult {
  const { name, request } = job;
  const work = JSON.stringify({ request, threads, seconds });
  const result = answer(process.execPath, [...process.execArgv, beside("training-step.ts"), work]) as StepResult;
  const imagesPerSecond = (1000 * (request.batch as number)) / result.stepMs.median;
  return { name, threads, imagesPerSecond, ...result, ...(job.torch && { torch: torch(job, threads, seconds) }) };
}

function torch({ request }: TrainingJob, threads: number, seconds: number): TorchResult {
  try {
    const { method, backbone, size, batch, options } = configure({ ...request, images: "noise" });
    const work = JSON.stringify({ method, backbone, size, batch, options, threads, seconds });
    const { times, peakBytes } = answer(python(), [beside("peers/torch_steps.py"), work]) as { times: number[]; peakBytes: number };
    return { stepMs: spreadOf(times), peakBytes };
  } catch (error) {
    return { skipped: (error as Error).message };
  }
}
