// Copies into parts, look-ups, draws and sorting: gpu/move.ts.
import * as kernels from "../../../gpu/move.ts";
import { size } from "../../tape/shape.ts";
import { part } from "../../tape/view.ts";
import type { Encode } from "./emitter.ts";
import { emitCopy, emitFill } from "./encode-elementwise.ts";
import { each, through } from "./windows.ts";

const threads = (n: number) => Math.ceil(n / 64);

const concat: Encode = ({ inputs, outputs: [y], attrs }, out) => {
  const axis = attrs.axis as number;
  let at = 0;
  out.together(() => {
    for (const x of inputs) {
      emitCopy(out, x, part(y, axis, at, x.shape[axis]));
      at += x.shape[axis];
    }
  });
};

const pad: Encode = ({ inputs: [x], outputs: [y], attrs }, out) => {
  const before = attrs.before as number[];
  emitFill(out, attrs.value as number, y);
  emitCopy(
    out,
    x,
    x.shape.reduce((inside, n, axis) => part(inside, axis, before[axis], n), y),
  );
};

const updateSlice: Encode = ({ inputs: [x, piece, start], outputs: [y], attrs }, out) => {
  const axis = attrs.axis as number;
  if (x.buffer !== y.buffer) emitCopy(out, x, y);
  const params = { n: x.shape[axis], m: piece.shape[axis], inner: size(x.shape.slice(axis + 1)), size: size(piece.shape) };
  out.dispatch(kernels.updateSlice, [piece, start, y], params, threads(params.size), [each(64)]);
};

const gather: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const params = { n: x.shape[0], width: size(x.shape.slice(1)), size: size(y.shape) };
  const reaches = [undefined, through(64, params.width, 1), each(64)];
  out.dispatch(kernels.gather, [x, index, y], params, threads(params.size), reaches);
};

/** Rows that are too many to be seen at once are added some at a time, in their order: the sums are the same to the bit. */
const scatterAdd: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const [n, m] = [y.shape[0], x.shape[0]];
  const width = size(x.shape.slice(1));
  const rows = Math.max(out.sees([x, index]) ? m : Math.floor(out.seen / width), 1);
  const [head, next] = [out.temporary([n]), out.temporary([Math.min(rows, m)])];
  const sums = rows < m && y.buffer.dtype === "f16" ? out.temporary(y.shape) : y; // rounded once
  for (let begin = 0; begin < m || begin === 0; begin += rows) {
    const count = Math.min(rows, m - begin);
    const [added, places] = [x, index].map((view) => part(view, 0, begin, count));
    const params = { n, m: count, width, size: size(y.shape) };
    emitFill(out, count, head);
    out.dispatch(kernels.linkRows, [places, head, next], params, threads(count));
    const reaches = [undefined, through(64, width, 1), undefined, each(64)];
    out.dispatch(kernels.sumLinked(begin > 0), [added, head, next, sums], params, threads(params.size), reaches);
  }
  if (sums !== y) emitCopy(out, sums, y);
};

const uniform: Encode = ({ inputs: [key], outputs: [y], attrs }, out) => {
  const params = { stream: attrs.stream as number, size: size(y.shape) };
  out.dispatch(kernels.uniform, [key, y], params, threads(Math.ceil(params.size / 4)), [undefined, each(256)]);
};

const argmax: Encode = ({ inputs: [x], outputs: [y] }, out) => {
  const n = x.shape.at(-1) as number;
  const rows = size(x.shape) / n;
  out.dispatch(kernels.argmax, [x, y], { rows, n }, threads(rows), [each(64 * n), each(64)]);
};

const argsort: Encode = ({ inputs: [x], outputs: [y] }, out) => {
  const params = { n: x.shape.at(-1) as number, size: size(x.shape) };
  const ofRows = through(64, params.n, params.n);
  out.dispatch(kernels.argsort, [x, y], params, threads(params.size), [ofRows, ofRows]);
};

export const moveEncoders: Record<string, Encode> = { concat, pad, updateSlice, gather, scatterAdd, uniform, argmax, argsort };
