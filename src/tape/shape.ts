/** Sizes of a tensor, outermost axis first; `[]` is a scalar. */
export type Shape = readonly number[];

/** Thrown while tracing, at the user's line: names the operation, the shapes that came and what would do. */
export class ShapeError extends RangeError {
  constructor(op: string, shapes: readonly Shape[], expected: string) {
    const list = shapes.map((s) => JSON.stringify(s).replaceAll(",", ", ")).join(" and ");
    super(`Cannot ${op} ${list}: expected ${expected}`);
    this.name = "ShapeError";
  }
}

/** Number of elements of a shape; 1 for a scalar. */
export const size = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i]);

/** Row-major strides in elements. */
export function strides(shape: Shape): number[] {
  const out = new Array<number>(shape.length);
  for (let i = shape.length - 1, step = 1; i >= 0; step *= shape[i--]) out[i] = step;
  return out;
}

/** The common shape of two operands by NumPy's rule: axes align at the end, a size of 1 stretches. */
export function broadcast(op: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const n = a[a.length - rank + i] ?? 1;
    const m = b[b.length - rank + i] ?? 1;
    if (n !== m && n !== 1 && m !== 1) throw new ShapeError(op, [a, b], `sizes that are equal or 1, got ${n} and ${m} on axis ${i}`);
    return n === 1 ? m : n;
  });
}

/** Axes counted from the front; negative ones count from the end. */
export function normalizeAxes(op: string, shape: Shape, axes: readonly number[]): number[] {
  return axes.map((axis) => {
    const at = axis < 0 ? axis + shape.length : axis;
    if (!Number.isInteger(axis) || at < 0 || at >= shape.length) {
      throw new ShapeError(op, [shape], `an axis from ${-shape.length} to ${shape.length - 1}, got ${axis}`);
    }
    return at;
  });
}
