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
  out.dispatch(kernels.updateSlice, [piece, start, y], params, threads(params.size));
};

const gather: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const params = { n: x.shape[0], width: size(x.shape.slice(1)), size: size(y.shape) };
  const reaches = [undefined, through(64, params.width, 1), each(64)];
  out.dispatch(kernels.gather, [x, index, y], params, threads(params.size), reaches);
};

const scatterAdd: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const params = { n: y.shape[0], m: x.shape[0], width: size(x.shape.slice(1)), size: size(y.shape) };
  const [head, next] = [out.temporary([params.n]), out.temporary([params.m])];
  emitFill(out, params.m, head);
  out.dispatch(kernels.linkRows, [index, head, next], params, threads(params.m));
  out.dispatch(kernels.sumLinked, [x, head, next, y], params, threads(params.size));
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
