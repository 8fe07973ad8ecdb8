// A recipe's schedules as functions of the step.
import type { Horizon } from "../methods/method.ts";
import { everything, exceptVectors, type Rules } from "../nn/optim/optimizer.ts";
import { constant, cosine, multistep, perEpoch, type Schedule, scaledRate, warmedUp } from "../nn/optim/schedule.ts";
import type { RecipeOptimizer, RecipeSchedule } from "./recipe.ts";

/** The learning rate that a recipe means for a batch, before any schedule. */
export const peakRate = ({ lr, scaling }: Pick<RecipeOptimizer, "lr" | "scaling">, batch: number): number =>
  scaling === "none" ? lr : scaledRate(lr, batch, scaling);

/** Which parameters a recipe's optimiser leaves out of weight decay and trust ratios. */
export const rulesOf = ({ except }: Pick<RecipeOptimizer, "except">): Rules => (except === "vectors" ? exceptVectors : everything);

/**
 * `lr` and `weightDecay` of every step. `batch` counts all images of an optimiser step.
 *
 *     const { lr } = recipeSchedules(recipe.optimizer, recipe.schedule, { epochs: 100, stepsPerEpoch: 390 }, 128)
 *     lr(0)
 */
export function recipeSchedules(
  optimizer: Pick<RecipeOptimizer, "lr" | "scaling" | "weightDecay">,
  schedule: RecipeSchedule,
  { epochs, stepsPerEpoch }: Horizon,
  batch: number,
): { lr: Schedule; weightDecay: Schedule } {
  const { weightDecay } = optimizer;
  const steps = Math.ceil(epochs * stepsPerEpoch);
  return {
    lr: rate(peakRate(optimizer, batch), schedule, epochs, stepsPerEpoch),
    weightDecay:
      schedule.weightDecayEnd === undefined ? constant(weightDecay) : cosine({ from: weightDecay, to: schedule.weightDecayEnd, steps }),
  };
}

/** The schedule of a rate whose clock counts steps, or epochs where the recipe says so. */
function rate(peak: number, schedule: RecipeSchedule, epochs: number, stepsPerEpoch: number): Schedule {
  const { start = 0, end = 0, milestones = [] } = schedule;
  const unit = schedule.perEpoch ? 1 : stepsPerEpoch; // ticks of the clock in an epoch
  const ticks = Math.ceil(epochs * unit);
  const warmup = Math.round(Math.min(schedule.warmupEpochs ?? 0, epochs / 4) * unit);
  const byTick = {
    cosine: cosine({ from: peak, to: end, steps: ticks, warmup, start, reach: schedule.reachAtLast ? "last" : "after" }),
    steps: warmedUp(multistep({ base: peak, milestones: milestones.map((part) => Math.round(part * ticks)) }), { warmup, start, to: peak }),
    constant: warmedUp(constant(peak), { warmup, start, to: peak }),
  }[schedule.lr];
  return schedule.perEpoch ? perEpoch(byTick, stepsPerEpoch) : byTick;
}
