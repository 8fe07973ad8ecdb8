// Steps of the backward pass whose results only the optimiser reads wait for others of their kind, so that a backend can run them at once:
// sums over rows, which are the gradients of biases. What they read stays in memory meanwhile, so only a few wait.
import { viewsRead, writes } from "./assign.ts";
import type { Draft, Step, View } from "./program.ts";

/** Steps that wait at most: the biases of a transformer's block. */
const MOST = 4;

/** Moves steps of these ops behind those that do not depend on them, until enough are together. */
export function postpone(draft: Draft, ops: readonly string[]): Draft {
  const steps: Step[] = [];
  const waiting: Step[] = [];
  const release = () => steps.push(...waiting.splice(0));
  for (const step of draft.steps) {
    if (waiting.some((other) => depends(step, other))) release();
    if (ops.includes(step.op) && step.scope?.pass === "backward") waiting.push(step);
    else steps.push(step);
    if (waiting.length === MOST) release();
  }
  release();
  return { ...draft, steps };
}

const meet = (a: readonly View[], b: readonly View[]) => a.some(({ buffer }) => b.some((other) => other.buffer === buffer));

/** Whether a step has to come after one before it. */
const depends = (step: Step, before: Step): boolean =>
  meet([...viewsRead(step), ...writes(step)], writes(before)) || meet(writes(step), viewsRead(before));
