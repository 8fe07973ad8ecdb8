// What tests share: backends, gradients by finite differences, comparisons.
import type { Backend } from "../src/backend/backend.ts";
import { ReferenceBackend, type ReferenceExecutable } from "../src/backend/reference.ts";
import { grad } from "../src/tape/grad.ts";
import { type Shape, size } from "../src/tape/shape.ts";
import { Parameter, type Tensor } from "../src/tape/tensor.ts";
import { compile, type Host, type Lowered } from "../src/tape/trace.ts";
import { fill, type Role } from "./fill.ts";

export type Run = (...inputs: Tensor[]) => Tensor | Tensor[];

/** An input of a test: a shape filled with numbers of either sign, or given numbers (indices, positive values). */
export type Input = Shape | { shape: Shape; role?: Role; data?: number[]; fixed?: boolean };

export interface Made extends Host {
  /** Takes no part in gradient checks. */
  fixed: boolean;
}

export const reference = new ReferenceBackend();

export function make(inputs: readonly Input[], name: string): Made[] {
  return inputs.map((input, i) => {
    const spec = Array.isArray(input)
      ? { shape: input as Shape }
      : (input as { shape: Shape; role?: Role; data?: number[]; fixed?: boolean });
    const host = spec.data
      ? { data: Float32Array.from(spec.data), shape: spec.shape }
      : fill(`${name}/${i}`, spec.shape, spec.role ?? "input");
    return { ...host, fixed: spec.fixed ?? !!spec.data };
  });
}

const list = (y: Tensor | Tensor[]) => (Array.isArray(y) ? y : [y]);

/** sum(y * w) over all outputs, with weights that make every element count differently. */
function loss(y: Tensor[], weights: Tensor[]): Tensor {
  return y.map((t, i) => t.mul(weights[i].reshape(t.shape)).sum()).reduce((a, b) => a.add(b));
}

/** Outputs of an operation, and the gradients of a weighted sum of them, on a backend. */
export async function outputsAndGradients(run: Run, inputs: Made[], backend: Backend, how?: Lowered): Promise<Host[]> {
  const parameters = inputs.map(({ shape, data }) => new Parameter(shape, data.slice()));
  const moving = parameters.filter((_, i) => !inputs[i].fixed);
  const step = compile(
    () => {
      const y = list(run(...parameters));
      const weights = y.map((t, i) => new Parameter(t.shape, fill(`weight/${i}`, t.shape, "input").data));
      return [...y, ...(moving.length ? grad(loss(y, weights), moving).filter((g) => g !== undefined) : [])];
    },
    backend,
    how,
  );
  return step();
}

/** The same weighted sum on the host. */
function weighted(y: Float64Array, which: number): number {
  const w = fill(`weight/${which}`, [y.length], "input").data;
  return y.reduce((sum, v, i) => sum + v * w[i], 0);
}

export async function outputsOf(run: Run, inputs: Made[], backend: Backend, how?: Lowered): Promise<Host[]> {
  const step = compile((...x: Tensor[]) => list(run(...x)), backend, how);
  return step(...inputs);
}

/** Largest difference of the traced gradient from central differences, over the largest entry, on the float64 backend. */
export async function gradientGap(run: Run, inputs: Made[], eps = 2 ** -12): Promise<number> {
  const results = await outputsAndGradients(run, inputs, reference);
  const outputs = (await outputsOf(run, inputs, reference)).length;
  const gradients = results.slice(outputs);
  const executable = (await compile((...x: Tensor[]) => list(run(...x)), reference).prepare(...inputs)) as ReferenceExecutable;
  const at = (which: number, i: number, delta: number) => {
    const moved = inputs.map(({ data }, j) => (j === which ? data.slice() : data));
    moved[which][i] += delta;
    return { value: executable.exact(moved).reduce((sum, y, k) => sum + weighted(y, k), 0), x: moved[which][i] };
  };
  let gap = 0;
  const moving = inputs.map((_, i) => i).filter((i) => !inputs[i].fixed);
  for (const [slot, which] of moving.entries()) {
    const analytic = gradients[slot].data;
    const scale = Math.max(1e-3, ...analytic.map(Math.abs));
    for (let i = 0; i < analytic.length; i += Math.max(1, Math.floor(size(inputs[which].shape) / 24))) {
      const [up, down] = [at(which, i, eps), at(which, i, -eps)];
      gap = Math.max(gap, Math.abs((up.value - down.value) / (up.x - down.x) - analytic[i]) / scale);
    }
  }
  return gap;
}

/** Largest absolute difference over the largest absolute entry of `b`. */
export function difference(a: Host, b: Host): number {
  if (a.data.length !== b.data.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let scale = 1e-6;
  for (let i = 0; i < b.data.length; i++) {
    const gap = Math.abs(a.data[i] - b.data[i]);
    if (!(gap <= worst))
      worst =
        Number.isNaN(gap) && !(Number.isNaN(a.data[i]) && Number.isNaN(b.data[i])) ? Number.POSITIVE_INFINITY : Math.max(worst, gap || 0);
    scale = Math.max(scale, Math.abs(b.data[i]));
  }
  return worst / scale;
}
