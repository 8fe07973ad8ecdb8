// Matrix products: chooses tiles and says where operands lie. Kernels: gpu/product.ts, gpu/matmul.ts.
import { type Lie, matmulOperands } from "../../../gpu/matmul.ts";
import { type Operands, product, sumParts } from "../../../gpu/product.ts";
import type { Step, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { endingOf } from "./encode-elementwise.ts";
import { classOf, type Sizes } from "./tiles.ts";

/** Results that keep a GPU busy: k is cut into parts where a product has fewer. */
const BUSY = 2 ** 20;
const LEAST_PART = 256;
const MULTIPLE = 32; // of every tile's depth

/** How k is cut. It depends on sizes alone, so that results depend neither on the tile nor on the machine's load. */
function cut({ batch, m, n, k }: Sizes): { parts: number; part: number } {
  const wanted = batch > 1 ? 1 : Math.floor(Math.min(BUSY / (m * n), k / LEAST_PART));
  const part = Math.max(Math.ceil(k / Math.max(1, wanted) / MULTIPLE), 1) * MULTIPLE;
  return { part, parts: Math.max(Math.ceil(k / part), 1) };
}

/**
 * Emits a product as (part of) a step. `views` and `params` are those of `operands`; output 0 of the step, or what its epilogue
 * stores, receives the result as [batch m, n].
 */
export function emitProduct(
  out: Emitter,
  step: Step,
  operands: Operands,
  views: readonly View[],
  sizes: Sizes,
  params: Readonly<Record<string, number>>,
): void {
  const { parts, part } = cut(sizes);
  const tile = out.tileOf(classOf(sizes, parts, operands));
  const { epilogue } = step;
  const [tiles_down, tiles_across] = [Math.ceil(sizes.m / tile.rows), Math.ceil(sizes.n / tile.columns)];
  const own = { ...params, m: sizes.m, n: sizes.n, k: sizes.k, tiles_down, tiles_across, parts, part };
  const ending = endingOf(step);
  const groups = sizes.batch * tiles_down * tiles_across * parts;
  if (parts === 1) {
    out.dispatch(product(operands, tile, epilogue, false), [...views, ...ending.views], { ...own, ...ending.params }, groups);
    return;
  }
  const sums = out.temporary([parts, sizes.m, sizes.n]);
  out.dispatch(product(operands, tile, undefined, true), [...views, sums], own, groups);
  out.dispatch(sumParts(epilogue), [sums, ...ending.views], { ...own, ...ending.params }, Math.ceil((sizes.m * sizes.n) / 64));
}

/** Steps of an operand along the batch as two axes. */
interface Batch {
  readonly inner: number;
  readonly a: readonly [number, number];
  readonly b: readonly [number, number];
}

/** Neighbouring axes of the batch that both operands step through evenly become one. */
function foldBatch(shape: readonly number[], a: View, b: View): Batch {
  const steps = ({ shape: own, strides }: View) => (own.length > 2 ? strides.slice(0, -2) : shape.map(() => 0));
  const axes = shape.map((n, i) => ({ n, a: steps(a)[i], b: steps(b)[i] })).filter(({ n }) => n !== 1);
  const folded: typeof axes = [];
  for (const axis of axes) {
    const last = folded.at(-1);
    if (last && last.a === axis.a * axis.n && last.b === axis.b * axis.n) folded[folded.length - 1] = { ...axis, n: last.n * axis.n };
    else folded.push(axis);
  }
  while (folded.length < 2) folded.unshift({ n: 1, a: 0, b: 0 });
  if (folded.length > 2) throw new RangeError(`Cannot matmul over batch axes ${JSON.stringify(shape)}: expected at most two steps`);
  const [outer, inner] = folded;
  return { inner: inner.n, a: [outer.a, inner.a], b: [outer.b, inner.b] };
}

/** How an operand lies: `n` elements along an index with a `step`, and what the index beside it and the batch step over. */
function lie<const Along>(
  { offset }: View,
  { along, n, other, step = 1 }: { along: Along; n: number; other: number; step?: number },
  batch: readonly number[],
): Lie<Along> {
  return { along, fours: step === 1 && [offset, n, other, ...batch].every((floats) => floats % 4 === 0) };
}

const matmul: Encode = (step, out) => {
  const [a, b] = step.inputs;
  const { ta, tb } = step.attrs;
  const shape = step.outputs[0].shape;
  const [m, n] = shape.slice(-2);
  const k = a.shape.at(ta ? -2 : -1) as number;
  const [aOuter, aInner] = a.strides.slice(-2);
  const [bOuter, bInner] = b.strides.slice(-2);
  const [a_row, a_k] = ta ? [aInner, aOuter] : [aOuter, aInner];
  const [b_k, b_column] = tb ? [bInner, bOuter] : [bOuter, bInner];
  const batch = foldBatch(shape.slice(0, -2), a, b);
  const params = { a_row, a_k, b_k, b_column, batch_inner: batch.inner };
  const steps = { a_outer: batch.a[0], a_inner: batch.a[1], b_outer: batch.b[0], b_inner: batch.b[1] };
  const left = lie(a, a_k === 1 ? { along: "k", n: k, other: a_row } : { along: "row", n: m, other: a_k, step: a_row }, batch.a);
  const right = lie(b, b_column === 1 ? { along: "column", n, other: b_k } : { along: "k", n: k, other: b_column, step: b_k }, batch.b);
  const operands = matmulOperands(left, right);
  emitProduct(out, step, operands, [a, b], { batch: size(shape.slice(0, -2)), m, n, k }, { ...params, ...steps });
};

export const matmulEncoders: Record<string, Encode> = { matmul };
