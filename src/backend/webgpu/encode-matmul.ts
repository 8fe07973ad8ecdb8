// Matrix products: chooses tiles and says where operands lie. Kernels: gpu/product.ts, gpu/matmul.ts.
import { type Lie, matmulOperands } from "../../../gpu/matmul.ts";
import { type Operands, product, sumParts, type Tile } from "../../../gpu/product.ts";
import type { Step, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Encode } from "./emitter.ts";
import { endingOf } from "./encode-elementwise.ts";
import { classOf, type Sizes } from "./tiles.ts";
import { box, hull, type Range, type Reach, type Sight, through } from "./windows.ts";

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

/** What some groups of a product compute: of which batches, which rows and columns, over which k. */
export interface Block {
  readonly batch: Range;
  readonly rows: Range;
  readonly columns: Range;
  readonly ks: Range;
}

/** A product's operands. */
export interface Factors {
  readonly operands: Operands;
  /** In the order of `operands.reads`, with the operands' own numbers. */
  readonly views: readonly View[];
  readonly params: Readonly<Record<string, number>>;
  /** What a block touches of each view. */
  readonly reach: (block: Block) => readonly Range[];
}

/** A part of k, at most `part`, that is small enough for a kernel to see what a tile of it takes. */
function visiblePart(
  part: number,
  { m, n, k }: Sizes,
  { rows, columns }: Tile,
  reach: Factors["reach"],
  { bytes, alignment }: Sight,
): number {
  const tile = (ks: number): Block => ({ batch: [0, 1], rows: [0, Math.min(m, rows)], columns: [0, Math.min(n, columns)], ks: [0, ks] });
  const seen = (ks: number) => reach(tile(Math.min(k, ks))).every(([begin, end]) => 4 * (end - begin) + alignment <= bytes);
  let visible = part;
  while (visible > MULTIPLE && !seen(visible)) visible = Math.ceil(visible / 2 / MULTIPLE) * MULTIPLE;
  return visible;
}

/** Emits a product as (part of) a step: output 0 of the step, or what its epilogue stores, receives the result as [batch m, n]. */
export function emitProduct(out: Emitter, step: Step, { operands, views, params, reach }: Factors, sizes: Sizes): void {
  const { m, n, k, batch } = sizes;
  const ending = endingOf(step);
  const wanted = cut(sizes);
  const tile = out.tileOf(classOf(sizes, wanted.parts, operands, step.precision));
  const part = batch > 1 ? wanted.part : visiblePart(wanted.part, sizes, tile, reach, out.sight);
  const parts = Math.max(Math.ceil(k / part), 1);
  const [tiles_down, tiles_across] = [Math.ceil(m / tile.rows), Math.ceil(n / tile.columns)];
  const own = { ...params, m, n, k, tiles_down, tiles_across, parts, part };
  const groups = batch * tiles_down * tiles_across * parts;
  const { blockOf, resultOf } = blocks(sizes, tile, parts, part);
  const reaches = views.map(
    (_, i): Reach =>
      (begin, end) =>
        reach(blockOf(begin, end))[i],
  );
  if (parts === 1) {
    const all = [...reaches, ...ending.reaches(resultOf)];
    out.dispatch(product(operands, tile, step.epilogue, false), [...views, ...ending.views], { ...own, ...ending.params }, groups, all);
    return;
  }
  const sums = out.temporary([m, parts, n]);
  out.dispatch(product(operands, tile, undefined, true), [...views, sums], own, groups, [...reaches, resultOf]);
  const summed = [through(64, n, parts * n), ...ending.reaches((begin, end) => [64 * begin, Math.min(64 * end, m * n)])];
  out.dispatch(sumParts(step.epilogue), [sums, ...ending.views], { ...own, ...ending.params }, Math.ceil((m * n) / 64), summed);
}

/** Which block groups begin .. end - 1 compute, and which elements of [batch m, n], or [m, parts, n] if k is cut. See `placeOfGroup` in gpu/product.ts. */
function blocks({ m, n, k }: Sizes, tile: Tile, parts: number, part: number) {
  const across = Math.ceil(n / tile.columns);
  const each = Math.ceil(m / tile.rows) * across;
  /** From the first to the last place of tiles in a row. */
  const span = (first: number, last: number, extent: number, most: number): Range => [first * extent, Math.min(most, (last + 1) * extent)];
  const rowsOf = (first: number, last: number): Range =>
    Math.floor(first / each) === Math.floor(last / each)
      ? span(Math.floor((first % each) / across), Math.floor((last % each) / across), tile.rows, m)
      : [0, m];
  return {
    blockOf(begin: number, end: number): Block {
      const last = end - 1;
      const [from, to] = [Math.floor(begin / each), Math.floor(last / each)]; // slices: batches or, if k is cut, parts
      const oneRow = Math.floor(begin / across) === Math.floor(last / across);
      return {
        batch: parts === 1 ? [from, to + 1] : [0, 1],
        rows: rowsOf(begin, last),
        columns: oneRow ? span(begin % across, last % across, tile.columns, n) : [0, n],
        ks: parts === 1 ? [0, k] : span(from, to, part, k),
      };
    },
    resultOf(begin: number, end: number): Range {
      const last = end - 1;
      const [first, behind] = rowsOf(begin, last);
      if (parts > 1) return [first * parts * n, behind * parts * n];
      return [(Math.floor(begin / each) * m + first) * n, (Math.floor(last / each) * m + behind) * n];
    },
  };
}

/** Two matrices as they lie, the steps of which `params` holds. */
export const matrices = (
  left: Lie<"k" | "row">,
  right: Lie<"k" | "column">,
  views: readonly View[],
  params: Readonly<Record<string, number>>,
): Factors => ({ operands: matmulOperands(left, right), views, params, reach: matmulReach(params) });

/** What a block touches of the two operands of `matmulOperands` with these steps. */
function matmulReach(steps: Readonly<Record<string, number>>): Factors["reach"] {
  const within = (batch: Range, [outer, inner]: readonly [number, number], ...axes: Parameters<typeof box>[0]): Range => {
    const shape = [Math.ceil(batch[1] / steps.batch_inner), steps.batch_inner];
    const [begin, end] = hull({ shape, strides: [outer, inner] }, ...batch);
    const [first, behind] = box(axes);
    return [begin + first, end + behind - 1];
  };
  const axis = (step: number, [from, to]: Range) => ({ step, from, to });
  return ({ batch, rows, columns, ks }) => [
    within(batch, [steps.a_outer, steps.a_inner], axis(steps.a_row, rows), axis(steps.a_k, ks)),
    within(batch, [steps.b_outer, steps.b_inner], axis(steps.b_k, ks), axis(steps.b_column, columns)),
  ];
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
  const steps = { a_row, a_k, b_k, b_column, batch_inner: batch.inner };
  const params = { ...steps, a_outer: batch.a[0], a_inner: batch.a[1], b_outer: batch.b[0], b_inner: batch.b[1] };
  const left = lie(a, a_k === 1 ? { along: "k", n: k, other: a_row } : { along: "row", n: m, other: a_k, step: a_row }, batch.a);
  const right = lie(b, b_column === 1 ? { along: "column", n, other: b_k } : { along: "k", n: k, other: b_column, step: b_k }, batch.b);
  emitProduct(out, step, matrices(left, right, [a, b], params), { batch: size(shape.slice(0, -2)), m, n, k });
};

export const matmulEncoders: Record<string, Encode> = { matmul };
