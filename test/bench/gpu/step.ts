// Training steps that the GPU's benchmark looks at, on made-up images.
import type { Backend } from "../../../src/backend/backend.ts";
import type { Host, Precision } from "../../../src/tape/trace.ts";
import { fittingStep } from "../../../src/train/fit.ts";
import { buildLearner, schedulesOf } from "../../../src/train/learner.ts";
import { configure, type RunRequest } from "../../../src/train/options.ts";
import { TrainStep } from "../../../src/train/step.ts";
import { values } from "../jobs.ts";

/** DINO with ViT-S/16 on images of 224 pixels, two large views and eight small ones, by the published recipe. */
export const dinoSmall = (batch: number, precision: Precision = "f32"): Omit<RunRequest, "images"> => {
  return { method: "dino", recipe: "dino-vits16-100", batch, precision, steps: 1 };
};

/** A step that can be run again and again. */
export interface Steps {
  readonly arenaBytes: number;
  run(): Promise<unknown>;
}

function parts(request: Omit<RunRequest, "images">) {
  const options = configure({ ...request, images: "noise" });
  const learner = buildLearner(options);
  const views = learner.method.views(learner.options, options.size).map(({ size: side }): Host => {
    return values({ op: "conv", name: "", batch: options.batch, side, inputs: 3, outputs: 1, kernel: 1, stride: 1 }).a;
  });
  const schedules = Object.entries(schedulesOf(learner, options, { epochs: 1, stepsPerEpoch: 1 }));
  const scalars = Object.fromEntries(schedules.map(([name, schedule]) => [name, schedule(0)]));
  return { options, learner, views, scalars };
}

/** The step of a request, loaded. Of the second epoch: in the first one some methods hold weights still. */
export async function openSteps(request: Omit<RunRequest, "images">, backend: Backend): Promise<Steps> {
  const { options, learner, views, scalars } = parts(request);
  const { step, arenaBytes } = await fittingStep(learner, options, backend);
  let done = 0;
  return { arenaBytes, run: () => step.run([views], scalars, { seed: 0, step: done++, epoch: 1 }) };
}

/** Lowers and plans the step of a request on a backend that need not be able to run it. */
export async function planStep(request: Omit<RunRequest, "images">, backend: Backend): Promise<void> {
  const { learner, views, scalars } = parts(request);
  await new TrainStep(learner, backend).prepare(views, scalars, { seed: 0, step: 0, epoch: 1 });
}
