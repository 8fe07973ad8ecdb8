// What runners of whole networks share: filled weights, layouts, forward passes and gradients on a backend.
import type { Backend } from "../../src/backend/backend.ts";
import { type Module, official, withContext } from "../../src/nn/module.ts";
import { grad } from "../../src/tape/grad.ts";
import type { Tensor } from "../../src/tape/tensor.ts";
import { compile, type Host } from "../../src/tape/trace.ts";
import { fill } from "../fill.ts";

/** Overwrites every weight and buffer by fill(prefix + name) in its official shape, except those that `keep` names. */
export function fillModule(module: Module, prefix = "", keep: (name: string) => boolean = () => false): void {
  const names = [...module.namedState()].filter(([name]) => !name.endsWith("num_batches_tracked") && !keep(name));
  module.load(new Map(names.map(([name, parameter]) => [name, fill(prefix + name, parameter.officialShape)])), { strict: false });
}

/** Moves axes of a host array. */
export function permute({ data, shape }: Host, axes: readonly number[]): Host {
  const out = axes.map((axis) => shape[axis]);
  const steps = axes.map((axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1));
  const index = out.map(() => 0);
  const moved = new Float32Array(data.length);
  for (let at = 0, from = 0; at < moved.length; at++) {
    moved[at] = data[from];
    for (let axis = out.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++index[axis] < out[axis]) break;
      from -= steps[axis] * out[axis];
      index[axis] = 0;
    }
  }
  return { data: moved, shape: out };
}

/** PyTorch's images to ours. */
export const nhwc = (x: Host): Host => permute(x, [0, 2, 3, 1]);
/** Our maps to PyTorch's; other ranks stay. */
export const nchw = (x: Host): Host => (x.shape.length === 4 ? permute(x, [0, 3, 1, 2]) : x);

/** Runs f once in evaluation mode. */
export const evaluate = <R>(f: (x: Tensor) => R, x: Host, backend: Backend) =>
  compile((t: Tensor) => withContext({ training: false }, () => f(t)), backend)(x);

/** What a step gave: named values, and gradients by parameter name in the official layout. */
export interface Gradients {
  values: Record<string, Host>;
  gradients: Map<string, Host>;
}

/** One forward and backward pass in training mode over any inputs; `f` names what it gives and among it the loss. */
export async function gradientsOf(
  module: Module,
  f: (...x: Tensor[]) => Record<string, Tensor> & { loss: Tensor },
  x: Host[],
  backend: Backend,
): Promise<Gradients> {
  const weights = [...module.namedParameters()].filter(([, parameter]) => parameter.trainable);
  const step = compile((inputs: Tensor[]) => {
    const values: Record<string, Tensor> = withContext({ training: true }, () => f(...inputs));
    return {
      values,
      gradients: grad(
        values.loss,
        weights.map(([, parameter]) => parameter),
      ).map((g, i) => g ?? weights[i][1].mul(0)),
    };
  }, backend);
  const { values, gradients } = await step(x);
  const named = weights.map(([name, parameter], i): [string, Host] => [name, official(parameter, gradients[i].data)]);
  const empty = [...module.namedParameters()].filter(([, { size }]) => size === 0); // nothing to train, yet PyTorch lists them
  return { values, gradients: new Map([...named, ...empty.map(([name, { data, shape }]): [string, Host] => [name, { data, shape }])]) };
}
