// From the configuration of a run to what is trained: model, optimiser, schedules, and the state that a checkpoint holds.
import type { Backend } from "../backend/backend.ts";
import { type Archive, CheckpointError, stateIn } from "../checkpoint/safetensors.ts";
import { buildModel } from "../evaluate/encoder.ts";
import type { Horizon } from "../methods/method.ts";
import { loadState, namedParameters, nameModules, official } from "../nn/module.ts";
import { LossScale } from "../nn/optim/loss-scale.ts";
import { makeOptimizer } from "../nn/optim/optimizers.ts";
import type { Schedule } from "../nn/optim/schedule.ts";
import { recipeSchedules, rulesOf } from "../recipes/schedules.ts";
import type { Parameter } from "../tape/tensor.ts";
import type { Host } from "../tape/trace.ts";
import type { RunOptions } from "./options.ts";
import type { Learner } from "./step.ts";

/** Builds what a run trains, with fresh weights. */
export function buildLearner(options: RunOptions, { recompute }: Pick<Learner, "recompute"> = {}): Learner {
  const { method, options: values, parts } = buildModel(options);
  nameModules(parts);
  const optimizer = makeOptimizer(options.optimizer, namedParameters(parts), rulesOf(options.optimizer));
  return {
    method,
    options: values,
    parts,
    optimizer,
    clip: options.optimizer.gradientClip,
    accumulate: options.accumulate,
    recompute,
    activations: options.activations,
    lossScale: options.precision === "f16" ? new LossScale() : undefined,
  };
}

/** Every scalar of a step, as functions of the place on the schedule. */
export function schedulesOf({ method, options: values }: Learner, options: RunOptions, horizon: Horizon): Record<string, Schedule> {
  return { ...recipeSchedules(options.optimizer, options.schedule, horizon, options.batch), ...method.schedules?.(values, horizon) };
}

/** Weights, buffers, queues, the optimiser's state and the scale of the loss under the names that a checkpoint gives them. */
export function* namedState({ parts, optimizer, lossScale }: Learner): Generator<[string, Parameter]> {
  yield* namedParameters(parts);
  for (const [name, parameter] of optimizer.namedState()) yield [`optimizer.${name}`, parameter];
  if (lossScale) yield* lossScale.namedState();
}

/** What a checkpoint holds, as the last finished step left it: official names, shapes and layouts. */
export async function snapshot(learner: Learner, backend: Backend): Promise<Map<string, Host>> {
  const state = new Map<string, Host>();
  for (const [name, parameter] of namedState(learner)) state.set(name, official(parameter, await backend.read(parameter)));
  return state;
}

/** Puts a checkpoint's numbers into a learner that no backend has seen yet: all of them, or none and an error. */
export function restore(learner: Learner, archive: Archive, path: string): void {
  try {
    loadState(namedState(learner), stateIn(archive));
  } catch (error) {
    throw new CheckpointError(`Cannot continue from ${path}: ${(error as Error).message}`);
  }
}
