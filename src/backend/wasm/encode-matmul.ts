// Matrix products: chooses tiles and says where operands lie. The cutting depends on shapes alone, never on the number of threads.
import { MATMUL, SUM_PARTS } from "../../../assembly/opcodes.ts";
import type { Step, View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import type { Emitter, Range } from "./emitter.ts";

const TILES = 32; // wanted, where there is enough work for so many
const TILE_ROWS = 512;
const TILE_COLUMNS = 256;
const SMALLEST = 96; // rows and columns of a tile: smaller ones spend too much on packing
const ENOUGH = 2 ** 20; // multiplications in a tile that pay for a thread's attention, about 30 microseconds
const DEPTH = 256; // a chunk of k is at least so deep
const DEEP = 4; // times as deep as its shorter side: large tiles in chunks cost less than small ones, as in gradients of weights
const CHUNKED_TILES = 16; // wanted then: chunks have to be written and summed

export interface Tiling {
  readonly rows: number;
  readonly columns: number;
  /** Parts of k, summed afterwards in their order. */
  readonly chunks: number;
}

const split = (n: number, parts: number, step: number) => Math.ceil(n / parts / step) * step;

/** How to cut `batch` products [m, k] x [k, n]. */
export function tiling(m: number, n: number, k: number, batch = 1): Tiling {
  let down = Math.ceil(m / TILE_ROWS);
  let across = Math.ceil(n / TILE_COLUMNS);
  const [rows, columns] = [() => split(m, down, 2), () => split(n, across, 16)];
  const deep = batch === 1 && k >= DEEP * Math.min(m, n);
  const wanted = deep ? CHUNKED_TILES : TILES;
  for (;;) {
    const parts = batch * down * across * (deep ? Math.max(1, Math.floor(k / DEPTH)) : 1);
    if (parts >= wanted || rows() * columns() * k <= ENOUGH) break;
    if (rows() >= columns() && rows() >= 2 * SMALLEST) down *= 2;
    else if (columns() >= 2 * SMALLEST) across *= 2;
    else break;
  }
  const tiles = batch * down * across;
  const chunks = batch > 1 ? 1 : Math.min(wanted / tiles, k / DEPTH, (rows() * columns() * k) / ENOUGH);
  return { rows: rows(), columns: columns(), chunks: Math.max(1, Math.floor(chunks)) };
}

/** The epilogue of a step: address of its program (0 for none) and what it touches. */
export function epilogue({ epilogue: body }: Step, out: Emitter): { program: number; reads: Range[]; writes: Range[] } {
  if (!body) return { program: 0, reads: [], writes: [] };
  return {
    program: out.elementwise(body),
    reads: body.inputs.slice(1).map((view) => out.range(view)),
    writes: body.outputs.map(({ view }) => out.range(view)),
  };
}

/** An operand's first element and its steps in bytes. */
export interface Operand {
  readonly address: number;
  readonly row: number;
  readonly column: number;
  /** One step an axis of the batch, 0 where the operand has no batch. */
  readonly batch: readonly number[];
}

function operand(view: View, transposed: unknown, axes: number, out: Emitter): Operand {
  const steps = view.strides.map((s) => 4 * s);
  const [outer, inner] = steps.slice(-2);
  const batch = view.shape.length > 2 ? steps.slice(0, -2) : new Array<number>(axes).fill(0);
  return { address: out.address(view), row: transposed ? inner : outer, column: transposed ? outer : inner, batch };
}

/** Neighbouring axes of the batch that both operands step through evenly become one. */
function foldBatch(shape: readonly number[], a: readonly number[], b: readonly number[]): { sizes: number[]; a: number[]; b: number[] } {
  const folded = { sizes: [] as number[], a: [] as number[], b: [] as number[] };
  for (const [axis, n] of shape.entries()) {
    if (n === 1) continue;
    const last = folded.sizes.length - 1;
    if (last >= 0 && folded.a[last] === a[axis] * n && folded.b[last] === b[axis] * n) {
      folded.sizes[last] *= n;
      folded.a[last] = a[axis];
      folded.b[last] = b[axis];
    } else {
      folded.sizes.push(n);
      folded.a.push(a[axis]);
      folded.b.push(b[axis]);
    }
  }
  for (; folded.sizes.length < 2; folded.sizes.unshift(1)) {
    folded.a.unshift(0);
    folded.b.unshift(0);
  }
  if (folded.sizes.length > 2) throw new RangeError(`Cannot matmul over batch axes ${JSON.stringify(shape)}: expected at most two steps`);
  return folded;
}

/** C[m, n] = A[m, k] B[k, n] for each index of the batch; C without gaps at address `c`. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Operand;
  readonly b: Operand;
  readonly c: number;
  readonly batch: readonly number[];
}

/** Emits a product as (part of) a step: its inputs are read, its output 0 is written, its epilogue follows. */
export function emitProduct({ m, n, k, a, b, c, batch: axes }: Product, step: Step, out: Emitter): void {
  const { rows, columns, chunks } = tiling(m, n, k, size(axes));
  const { program, reads, writes } = epilogue(step, out);
  const operands = step.inputs.map((view) => out.range(view));
  const result = out.range(step.outputs[0]);
  const batch = foldBatch(axes, a.batch, b.batch);
  const [outer, inner] = batch.sizes;
  const words = (to: number, then: number) => [
    ...[a.address, b.address, to, m, n, k, a.row, a.column, b.row, b.column],
    ...[outer, inner, ...batch.a, ...batch.b, rows, columns, chunks, then],
  ];
  if (chunks === 1) {
    out.emit(MATMUL, { reads: [...operands, ...reads], writes: [result, ...writes] }, words(c, program));
    return;
  }
  const parts = out.temporary(4 * chunks * m * n);
  const range = { start: parts, end: parts + 4 * chunks * m * n };
  out.emit(MATMUL, { reads: operands, writes: [range] }, words(parts, 0));
  out.emit(SUM_PARTS, { reads: [range, ...reads], writes: [result, ...writes] }, [parts, c, chunks, m, n, program]);
}

export function encodeMatmul(step: Step, out: Emitter): void {
  const { ta, tb } = step.attrs;
  const shape = step.outputs[0].shape;
  const batch = shape.slice(0, -2);
  const [m, n] = shape.slice(-2);
  const k = step.inputs[0].shape.at(ta ? -2 : -1) as number;
  const a = operand(step.inputs[0], ta, batch.length, out);
  const b = operand(step.inputs[1], tb, batch.length, out);
  const c = out.address(step.outputs[0]);
  // One column is one row of the transposed product, which wastes less.
  const flip = (x: Operand) => ({ ...x, row: x.column, column: x.row });
  if (n === 1 && !step.epilogue) emitProduct({ m: n, n: m, k, a: flip(b), b: flip(a), c, batch }, step, out);
  else emitProduct({ m, n, k, a, b, c, batch }, step, out);
}
