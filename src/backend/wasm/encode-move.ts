// Commands that copy, look up and draw: assembly/move.ts, gather.ts and random.ts.
import * as opcode from "../../../assembly/opcodes.ts";
import type { View } from "../../tape/program.ts";
import { size } from "../../tape/shape.ts";
import { collapse } from "../../tape/view.ts";
import type { Emitter, Encode, Range, Touched } from "./emitter.ts";

/** A source at an address of its own, read with strides; all zero for one number. */
interface Source {
  readonly address: number;
  readonly strides: readonly number[];
}

/** Words of a copy into part of an output. The axes must be collapsed already. */
function copyWords(shape: readonly number[], from: Source, to: Source): number[] {
  const words = [shape.length, from.address, to.address];
  for (const [i, n] of shape.entries()) words.push(n, 4 * from.strides[i], 4 * to.strides[i]);
  return words;
}

/** The axis that runs on in memory, if a tiled transpose pays: reading along it, the last axis being far apart. */
function transposed(shape: readonly number[], view: View): number | undefined {
  const last = shape.length - 1;
  if (Math.abs(view.strides[last]) <= 1) return undefined;
  const axis = shape.findIndex((n, i) => i < last && view.strides[i] === 1 && n >= 4);
  return axis < 0 || shape[last] < 4 ? undefined : axis;
}

/** Copies one view into another of its shape; `touched` is what the command is known to read and write. */
function emitCopy(out: Emitter, from: View, to: View, touched: Touched): void {
  const { shape, views } = collapse(from.shape, [from, to]);
  const [source, target] = views.map((view) => ({ address: out.address(view), strides: view.strides }));
  const run = target.strides.at(-1) === 1 ? transposed(shape, views[0]) : undefined;
  if (run === undefined) {
    out.emit(opcode.COPY, touched, copyWords(shape, source, target));
    return;
  }
  // The running axis goes next to last.
  const order = [...shape.keys()].filter((i) => i !== run);
  order.splice(order.length - 1, 0, run);
  const pick = (list: readonly number[]) => order.map((i) => list[i]);
  out.emit(
    opcode.TRANSPOSE,
    touched,
    copyWords(pick(shape), { ...source, strides: pick(source.strides) }, { ...target, strides: pick(target.strides) }),
  );
}

const copy: Encode = ({ inputs: [x], outputs: [y] }, out) =>
  emitCopy(out, x, { ...y, shape: x.shape }, { reads: [out.range(x)], writes: [out.range(y)] });

/** Elements [begin, begin + n) of an axis. */
const part = (view: View, axis: number, begin: number, n: number): View => ({
  ...view,
  offset: view.offset + begin * view.strides[axis],
  shape: view.shape.with(axis, n),
});

/** A result that several commands write in parts. */
const written = (range: Range, first: boolean): Omit<Touched, "reads"> => (first ? { writes: [range] } : { writes: [], apart: [range] });

const concat: Encode = ({ inputs, outputs: [y], attrs }, out) => {
  const axis = attrs.axis as number;
  let at = 0;
  for (const [i, x] of inputs.entries()) {
    const n = x.shape[axis];
    // The parts lie apart although their ranges overlap: only the first one has to wait for earlier writes.
    emitCopy(out, x, part(y, axis, at, n), { reads: [out.range(x)], ...written(out.range(y), i === 0) });
    at += n;
  }
};

/** The inside is a copy, every border a copy of one number. */
const pad: Encode = ({ inputs: [x], outputs: [y], attrs }, out) => {
  const before = attrs.before as number[];
  const value = out.data([out.f32(attrs.value as number)]);
  let rest = y;
  const fill = (view: View, first: boolean) => {
    const { shape, views } = collapse(view.shape, [view]);
    const zero = { address: value, strides: shape.map(() => 0) };
    out.emit(
      opcode.COPY,
      { reads: [], ...written(out.range(y), first) },
      copyWords(shape, zero, { address: out.address(views[0]), strides: views[0].strides }),
    );
  };
  let first = true;
  for (const [axis, n] of x.shape.entries()) {
    const behind = rest.shape[axis] - before[axis] - n;
    for (const border of [part(rest, axis, 0, before[axis]), part(rest, axis, before[axis] + n, behind)]) {
      if (size(border.shape) === 0) continue;
      fill(border, first);
      first = false;
    }
    rest = part(rest, axis, before[axis], n);
  }
  emitCopy(out, x, rest, { reads: [out.range(x)], ...written(out.range(y), first) });
};

const updateSlice: Encode = ({ inputs: [x, piece, start], outputs: [y], attrs }, out) => {
  const axis = attrs.axis as number;
  const [outer, n, inner] = [size(x.shape.slice(0, axis)), x.shape[axis], size(x.shape.slice(axis + 1))];
  const reads = [x, piece, start].map((view) => out.range(view));
  const addresses = [x, piece, start, y].map((view) => out.address(view));
  out.emit(opcode.UPDATE_SLICE, { reads, writes: [out.range(y)] }, [...addresses, outer, n, piece.shape[axis], inner]);
};

const gather: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const width = size(x.shape.slice(1));
  const words = [out.address(x), out.address(index), out.address(y), x.shape[0], size(index.shape), width];
  out.emit(opcode.GATHER, { reads: [out.range(x), out.range(index)], writes: [out.range(y)] }, words);
};

const scatterAdd: Encode = ({ inputs: [x, index], outputs: [y] }, out) => {
  const words = [out.address(x), out.address(index), out.address(y), y.shape[0], x.shape[0], size(x.shape.slice(1))];
  out.emit(opcode.SCATTER_ADD, { reads: [out.range(x), out.range(index)], writes: [out.range(y)] }, words);
};

const uniform: Encode = ({ inputs: [key], outputs: [y], attrs }, out) => {
  const words = [out.address(key), out.address(y), size(y.shape), attrs.stream as number];
  out.emit(opcode.UNIFORM, { reads: [out.range(key)], writes: [out.range(y)] }, words);
};

export const moveEncoders: Record<string, Encode> = { copy, concat, pad, updateSlice, gather, scatterAdd, uniform };
