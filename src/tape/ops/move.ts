// Operations that move numbers without changing them. `reshape` is free; the others are copies unless lowering reads through them.
import { apply, apply1, composed, constant, defineOp, sumTo, tensor } from "../op.ts";
import { broadcast, normalizeAxes, type Shape, ShapeError, sameShape, size } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

declare module "../tensor.ts" {
  interface Tensor {
    /** The same numbers in another shape; one size may be -1. */
    reshape(shape: Shape): Tensor;
    permute(axes: readonly number[]): Tensor;
    /** Swaps the last two axes. */
    t(): Tensor;
    expand(shape: Shape): Tensor;
    /** Elements [begin, end) of one axis; negative bounds count from the end. */
    slice(axis: number, begin: number, end?: number): Tensor;
    /** Cuts an axis into parts of equal size. */
    split(axis: number, parts: number): Tensor[];
    /** Surrounds the tensor by `value`: before[i] and after[i] elements on axis i. */
    pad(before: readonly number[], after: readonly number[], value?: number): Tensor;
    /** Reverses one axis. */
    flip(axis: number): Tensor;
    /** The same value, through which no gradient flows. */
    stopGradient(): Tensor;
    /** This tensor with `part` written over [start, start + n) of an axis; `start` is a scalar known at run time. No gradient. */
    updateSlice(part: Tensor, start: Tensor, axis: number): Tensor;
  }
}

defineOp({
  name: "reshape",
  kind: "view",
  shape: (_, { shape }) => [shape as Shape],
  vjp: ([g], { inputs }) => [g?.reshape(inputs[0].shape)],
});
composed("reshape", (x: Tensor, shape: Shape) => {
  const known = size(shape.filter((n) => n !== -1));
  const full = shape.map((n) => (n === -1 ? x.size / known : n));
  if (size(full) !== x.size || full.some((n) => !Number.isInteger(n)))
    throw new ShapeError("reshape", [x.shape, shape], `${x.size} elements`);
  return sameShape(full, x.shape) ? x : apply1("reshape", [x], { shape: full });
});

defineOp({ name: "stopGradient", kind: "view", shape: ([x]) => [x] });
composed("stopGradient", (x: Tensor) => apply1("stopGradient", [x]));

defineOp({
  name: "permute",
  shape: ([x], { axes }) => [(axes as number[]).map((axis) => x[axis])],
  vjp: ([g], { attrs }) => {
    const axes = attrs.axes as number[];
    return [g?.permute(axes.map((_, i) => axes.indexOf(i)))];
  },
});
composed("permute", (x: Tensor, axes: readonly number[]) => {
  const full = normalizeAxes("permute", x.shape, axes);
  if (new Set(full).size !== x.rank) throw new ShapeError("permute", [x.shape, axes], "each axis once");
  return full.every((axis, i) => axis === i) ? x : apply1("permute", [x], { axes: full });
});
composed("t", (x: Tensor) => {
  if (x.rank < 2) throw new ShapeError("transpose", [x.shape], "at least two axes");
  const axes = x.shape.map((_, i) => i);
  return x.permute([...axes.slice(0, -2), x.rank - 1, x.rank - 2]);
});

defineOp({
  name: "expand",
  shape: (_, { shape }) => [shape as Shape],
  vjp: ([g], { inputs }) => [g && sumTo(g, inputs[0].shape)],
});
composed("expand", (x: Tensor, shape: Shape) => {
  if (!sameShape(broadcast("expand", x.shape, shape), shape))
    throw new ShapeError("expand", [x.shape, shape], "a shape that the first stretches to");
  return sameShape(x.shape, shape) ? x : apply1("expand", [x], { shape });
});

defineOp({
  name: "slice",
  shape: ([x], { axis, begin, end }) => [x.map((n, i) => (i === axis ? (end as number) - (begin as number) : n))],
  vjp: ([g], { inputs: [x], attrs }) => {
    const { axis, begin, end } = attrs as { axis: number; begin: number; end: number };
    const none = x.shape.map(() => 0);
    return [g?.pad(none.with(axis, begin), none.with(axis, x.shape[axis] - end))];
  },
});
composed("slice", (x: Tensor, axis: number, begin: number, end?: number) => {
  const [at] = normalizeAxes("slice", x.shape, [axis]);
  const n = x.shape[at];
  const from = begin < 0 ? begin + n : begin;
  const to = end === undefined ? n : end < 0 ? end + n : end;
  if (!(from >= 0 && from < to && to <= n))
    throw new ShapeError("slice", [x.shape], `bounds within 0 and ${n} on axis ${at}, got ${begin} and ${end ?? n}`);
  return from === 0 && to === n ? x : apply1("slice", [x], { axis: at, begin: from, end: to });
});

defineOp({
  name: "split",
  shape: ([x], { axis, parts }) => {
    const part = x.with(axis as number, x[axis as number] / (parts as number));
    return Array.from({ length: parts as number }, () => part);
  },
  vjp: (g, { outputs, attrs }) => [
    concat(
      outputs.map((y, i) => g[i] ?? constant(0).expand(y.shape)),
      attrs.axis as number,
    ),
  ],
});
composed("split", (x: Tensor, axis: number, parts: number) => {
  const [at] = normalizeAxes("split", x.shape, [axis]);
  if (x.shape[at] % parts) throw new ShapeError("split", [x.shape], `a size on axis ${at} that ${parts} divides, got ${x.shape[at]}`);
  return parts === 1 ? [x] : apply("split", [x], { axis: at, parts });
});

defineOp({
  name: "pad",
  shape: ([x], { before, after }) => [x.map((n, i) => n + (before as number[])[i] + (after as number[])[i])],
  vjp: ([g], { inputs: [x], attrs }) => [
    x.shape.reduce<Tensor | undefined>((part, n, i) => part?.slice(i, (attrs.before as number[])[i], (attrs.before as number[])[i] + n), g),
  ],
});
composed("pad", (x: Tensor, before: readonly number[], after: readonly number[], value = 0) => {
  if (before.length !== x.rank || after.length !== x.rank || [...before, ...after].some((n) => !(n >= 0))) {
    throw new ShapeError("pad", [x.shape, before, after], `${x.rank} amounts of 0 or more on either side`);
  }
  return [...before, ...after].every((n) => n === 0) ? x : apply1("pad", [x], { before, after, value });
});

defineOp({ name: "flip", shape: ([x]) => [x], vjp: ([g], { attrs }) => [g?.flip(attrs.axis as number)] });
composed("flip", (x: Tensor, axis: number) => apply1("flip", [x], { axis: normalizeAxes("flip", x.shape, [axis])[0] }));

defineOp({
  name: "concat",
  shape: (shapes, { axis }) => [shapes[0].map((n, i) => (i === axis ? shapes.reduce((sum, s) => sum + s[i], 0) : n))],
  vjp: ([g], { inputs, attrs }) => {
    let at = 0;
    return inputs.map((x) => {
      const n = x.shape[attrs.axis as number];
      at += n;
      return g?.slice(attrs.axis as number, at - n, at);
    });
  },
});

/** Joins tensors along an axis; all other sizes must agree. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  if (parts.length === 0) throw new RangeError("Cannot concat nothing: expected at least one tensor");
  const [at] = normalizeAxes("concat", parts[0].shape, [axis]);
  for (const part of parts) {
    if (part.rank !== parts[0].rank || part.shape.some((n, i) => i !== at && n !== parts[0].shape[i])) {
      throw new ShapeError(
        "concat",
        parts.map((p) => p.shape),
        `sizes that agree on all axes but ${at}`,
      );
    }
  }
  return parts.length === 1 ? parts[0] : apply1("concat", parts, { axis: at });
}

defineOp({
  name: "updateSlice",
  shape([x, part, start], { axis }) {
    const fits = part.length === x.length && part.every((n, i) => (i === axis ? n <= x[i] : n === x[i]));
    if (!fits || start.length !== 0) throw new ShapeError("updateSlice", [x, part, start], "a part that fits and a scalar start");
    return [x];
  },
});
composed("updateSlice", (x: Tensor, part: Tensor, start: Tensor, axis: number) =>
  apply1("updateSlice", [x, part, tensor(start)], { axis: normalizeAxes("updateSlice", x.shape, [axis])[0] }),
);
