// Views: which numbers of a buffer a tensor is made of. Moving ops become new strides; nothing is copied here.
import type { Buffer, View } from "./program.ts";
import { type Shape, strides } from "./shape.ts";
import type { Attributes } from "./tensor.ts";

/** A whole buffer in row-major order. */
export const contiguous = (buffer: Buffer, shape: Shape): View => ({ buffer, offset: 0, shape, strides: strides(shape) });

/** Whether a view's elements lie one after the other in row-major order. */
export function isContiguous(view: View): boolean {
  const dense = strides(view.shape);
  return view.shape.every((n, i) => n === 1 || view.strides[i] === dense[i]);
}

/** The same elements in another shape, or undefined where that takes a copy. */
export function reshaped(view: View, shape: Shape): View | undefined {
  if (isContiguous(view)) return { ...view, shape, strides: strides(shape) };
  const old = view.shape.map((n, i) => ({ n, step: view.strides[i] })).filter(({ n }) => n !== 1);
  const steps = new Array<number>(shape.length).fill(0);
  let at = old.length;
  let room = 1; // elements of the present run of old axes that are not used up yet
  let step = 0;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue;
    if (room === 1) {
      if (at === 0) return undefined;
      ({ n: room, step } = old[--at]);
      // Old axes that continue each other count as one.
      while (at > 0 && old[at - 1].step === step * room) room *= old[--at].n;
    }
    if (room % shape[i]) return undefined;
    steps[i] = step;
    step *= shape[i];
    room /= shape[i];
  }
  return { ...view, shape, strides: steps };
}

/** A view stretched to a shape by NumPy's rule. */
export function stretched(view: View, shape: Shape): View {
  const lead = shape.length - view.shape.length;
  const steps = shape.map((_, i) => (i < lead || view.shape[i - lead] === 1 ? 0 : view.strides[i - lead]));
  return { ...view, shape, strides: steps };
}

type Mover = (view: View, attrs: Attributes, index: number, shape: Shape) => View;

/** Elements [begin, begin + n) of an axis. */
export const part = (view: View, axis: number, begin: number, n: number): View => ({
  ...view,
  offset: view.offset + begin * view.strides[axis],
  shape: view.shape.with(axis, n),
});

/** Ops that are another look at their input. */
export const movers: Record<string, Mover> = {
  stopGradient: (view) => view,
  permute: (view, { axes }) => ({
    ...view,
    shape: (axes as number[]).map((i) => view.shape[i]),
    strides: (axes as number[]).map((i) => view.strides[i]),
  }),
  expand: (view, _, __, shape) => stretched(view, shape),
  slice: (view, { axis, begin, end }) => part(view, axis as number, begin as number, (end as number) - (begin as number)),
  split: (view, { axis }, index, shape) => part(view, axis as number, index * shape[axis as number], shape[axis as number]),
  flip: (view, { axis }) => ({
    ...view,
    offset: view.offset + (view.shape[axis as number] - 1) * view.strides[axis as number],
    strides: view.strides.map((step, i) => (i === axis ? -step : step)),
  }),
};

/** Joins neighbouring axes over which all views run on without a gap, and drops axes of size 1. */
export function collapse(shape: Shape, views: readonly View[]): { shape: Shape; views: View[] } {
  const keep: number[] = [];
  for (let i = 0; i < shape.length; i++) if (shape[i] !== 1) keep.push(i);
  const sizes: number[] = [];
  const steps = views.map((): number[] => []);
  for (const i of keep) {
    const joins = sizes.length > 0 && views.every((view, v) => (steps[v].at(-1) as number) === view.strides[i] * shape[i]);
    if (joins) {
      sizes[sizes.length - 1] *= shape[i];
      for (const [v, view] of views.entries()) steps[v][sizes.length - 1] = view.strides[i];
    } else {
      sizes.push(shape[i]);
      for (const [v, view] of views.entries()) steps[v].push(view.strides[i]);
    }
  }
  if (sizes.length === 0) {
    sizes.push(1);
    for (const step of steps) step.push(0);
  }
  return { shape: sizes, views: views.map((view, v) => ({ ...view, shape: sizes, strides: steps[v] })) };
}

/** As `collapse`, but the last axis stays as it is: for kernels that compute whole rows. */
export function collapseRows(shape: Shape, views: readonly View[]): { shape: Shape; views: View[] } {
  const [lead, columns] = [shape.slice(0, -1), shape.slice(-1)];
  const rows = collapse(
    lead,
    views.map((view) => ({ ...view, shape: lead, strides: view.strides.slice(0, -1) })),
  );
  const sizes = [...rows.shape, ...columns];
  return {
    shape: sizes,
    views: rows.views.map((view, i) => ({ ...view, shape: sizes, strides: [...view.strides, ...views[i].strides.slice(-1)] })),
  };
}
