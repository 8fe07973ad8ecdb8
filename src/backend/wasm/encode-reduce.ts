// Sums, maxima, softmax and sorting: assembly/reduce.ts.
import * as opcode from "../../../assembly/opcodes.ts";
import { size } from "../../tape/shape.ts";
import { reducedRuns } from "../axes.ts";
import type { Emitter, Encode, Range } from "./emitter.ts";

/** Floats of a row that are summed in one go; longer sums are cut into parts of this size, whatever the number of threads. */
const ROW_PART = 16384;
/** The same for columns. Each is one chain of additions, so short parts round less; a part is 16 kB, far above what it costs to take one. */
const COLUMN_PART = 4096;

/** Rows of a part of a sum over rows of `width` floats: enough to be worth a part, few enough to keep many threads busy. */
export const partRows = (width: number): number => Math.min(512, Math.max(32, Math.ceil(COLUMN_PART / width)));

const span = (start: number, floats: number): Range => ({ start, end: start + 4 * floats });

/** y [outer, inner] = the sum or maximum of x [outer, n, inner] over n; addresses. */
export function emitReduce(out: Emitter, from: number, to: number, [outer, n, inner]: [number, number, number], maximum = false): void {
  const part = inner === 1 ? ROW_PART : partRows(inner);
  const parts = Math.ceil(n / part);
  const last = parts === 1;
  const target = last ? to : out.temporary(4 * outer * parts * inner);
  const touched = { reads: [span(from, outer * n * inner)], writes: [span(target, outer * parts * inner)] };
  out.emit(inner === 1 ? opcode.REDUCE_ROWS : opcode.REDUCE_COLUMNS, touched, [from, target, outer, n, inner, part, Number(maximum)]);
  if (!last) emitReduce(out, target, to, [outer, parts, inner], maximum);
}

/** The innermost run of reduced axes goes first, into scratch if more follow. */
const reduce =
  (maximum: boolean): Encode =>
  ({ inputs: [x], outputs: [y], attrs }, out) => {
    let list = reducedRuns(x.shape, attrs.axes as number[]);
    for (let from = out.address(x); ; ) {
      const at = list.findLastIndex(({ reduced }) => reduced);
      const [outer, inner] = [list.slice(0, at), list.slice(at + 1)].map((part) => part.reduce((product, { n }) => product * n, 1));
      const { n } = list[at];
      list = list.toSpliced(at, 1);
      const done = !list.some(({ reduced }) => reduced);
      const to = done ? out.address(y) : out.temporary(4 * outer * inner);
      emitReduce(out, from, to, [outer, n, inner], maximum);
      if (done) break;
      from = to;
    }
  };

const rowsOf = (shape: readonly number[]): [rows: number, n: number] => [size(shape.slice(0, -1)), shape.at(-1) as number];

const argmax: Encode = ({ inputs: [x], outputs: [y] }, out) =>
  out.emit(opcode.ARGMAX, { reads: [out.range(x)], writes: [out.range(y)] }, [out.address(x), out.address(y), ...rowsOf(x.shape)]);

const argsort: Encode = ({ inputs: [x], outputs: [y] }, out) => {
  const indices = out.temporary(8 * size(x.shape));
  const writes = [out.range(y), span(indices, 2 * size(x.shape))];
  out.emit(opcode.ARGSORT, { reads: [out.range(x)], writes }, [out.address(x), out.address(y), ...rowsOf(x.shape), indices]);
};

const softmax =
  (logarithm: boolean): Encode =>
  ({ inputs: [x], outputs: [y] }, out) =>
    out.emit(opcode.SOFTMAX, { reads: [out.range(x)], writes: [out.range(y)] }, [
      out.address(x),
      out.address(y),
      ...rowsOf(x.shape),
      Number(logarithm),
    ]);

const softmaxGrad =
  (logarithm: boolean): Encode =>
  ({ inputs: [g, y], outputs: [dx] }, out) => {
    const words = [out.address(g), out.address(y), out.address(dx), ...rowsOf(g.shape), Number(logarithm)];
    out.emit(opcode.SOFTMAX_GRAD, { reads: [out.range(g), out.range(y)], writes: [out.range(dx)] }, words);
  };

export const reduceEncoders: Record<string, Encode> = {
  sum: reduce(false),
  max: reduce(true),
  argmax,
  argsort,
  softmax: softmax(false),
  logSoftmax: softmax(true),
  softmaxGrad: softmaxGrad(false),
  logSoftmaxGrad: softmaxGrad(true),
};
